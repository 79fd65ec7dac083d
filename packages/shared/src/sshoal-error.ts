// The one error class of the product: a stable code for programs, a sentence for people, and what to change.
// Expected outcomes are return values; translation to HTTP status, SSH text or close code happens at the edge.

export interface ErrorDetails {
  [field: string]: unknown
}

/** Thrown everywhere; `code` is UPPER_SNAKE_CASE and stable, `message` says what to change. */
export class SshoalError extends Error {
  readonly code: string
  readonly details: ErrorDetails | undefined

  constructor(code: string, message: string, options: { cause?: unknown; details?: ErrorDetails } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'SshoalError'
    this.code = code
    this.details = options.details
  }
}

/** The text of anything that was thrown, for a log field or a message. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
