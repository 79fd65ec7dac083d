// A refusal with its reason, for hooks that have more to say than "nothing".

export class HookRefusal {
  /** UPPER_SNAKE_CASE. */
  readonly code: string
  /** Shown to the device after its signature was verified, and in the event. */
  readonly reason: string

  constructor(code: string, reason: string) {
    this.code = code
    this.reason = reason
  }
}
