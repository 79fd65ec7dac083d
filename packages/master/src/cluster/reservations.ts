// The slots of one slave that were given and not yet used: each holds a place for 2.5 s, an arrival uses the oldest.
// A queue of end times, because all last equally long.

export const SLOT_MS = 2_500

export class Reservations {
  readonly #changed: () => void
  #ends: number[] = []
  #first = 0

  /** `changed`: told whenever there are more or fewer. */
  constructor(changed: () => void = () => {}) {
    this.#changed = changed
  }

  /** How many are held at `now` (ms, monotonic). */
  count(now: number): number {
    const before = this.#first
    while (this.#first < this.#ends.length && (this.#ends[this.#first] ?? 0) <= now) this.#first++
    if (this.#first !== before) this.#changed()
    if (this.#first > 1_024 && this.#first * 2 > this.#ends.length) {
      this.#ends = this.#ends.slice(this.#first)
      this.#first = 0
    }
    return this.#ends.length - this.#first
  }

  /** How many were held when somebody counted last: what a choice among hundreds reads, after one look at the clock. */
  get counted(): number {
    return this.#ends.length - this.#first
  }

  hold(now: number): void {
    this.#ends.push(now + SLOT_MS)
    this.#changed()
  }

  /** An arrival uses the oldest, if there is one. */
  use(now: number): void {
    if (this.count(now) === 0) return
    this.#first++
    this.#changed()
  }
}
