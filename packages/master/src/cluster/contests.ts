// Take-overs whose loser was still alive, per holder: three in ten minutes mean that two machines claim one identity
// (a cloned SD card), and then the incumbent stays for as long as it answers.

const WINDOW_MS = 600_000
const TOLERATED = 3
/** Beyond, the oldest is forgotten: contests are rare, and a flood of them must not become memory. */
const MAX_HOLDERS = 100_000

export class Contests {
  readonly #byHolder = new Map<string, number[]>()
  readonly #now: () => number

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  note(holder: string): void {
    const times = this.#recent(holder)
    times.push(this.#now())
    this.#byHolder.delete(holder)
    this.#byHolder.set(holder, times)
    if (this.#byHolder.size <= MAX_HOLDERS) return
    const [oldest] = this.#byHolder.keys()
    if (oldest !== undefined) this.#byHolder.delete(oldest)
  }

  /** True: a newcomer is let in only if the incumbent fails the probe. */
  disputed(holder: string): boolean {
    return this.#recent(holder).length >= TOLERATED
  }

  #recent(holder: string): number[] {
    const since = this.#now() - WINDOW_MS
    return (this.#byHolder.get(holder) ?? []).filter((at) => at > since)
  }
}
