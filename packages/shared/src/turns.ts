// Who may work when many have much to do: each turn of the event loop gives all of them together a few milliseconds, one
// step each in the order in which they asked, so that sockets are read and pings answered in between. With a slice for
// each, five hundred snapshots at once would keep the loop for seconds.

/** Does one step; true: there is more to do. Must not throw. */
export type Step = () => boolean

export class Turns {
  readonly #sliceMs: number
  #waiting: Step[] = []
  #first = 0
  #scheduled = false

  constructor(sliceMs: number) {
    this.#sliceMs = sliceMs
  }

  /** Not at once: what else was read in this turn comes first. */
  add(step: Step): void {
    this.#waiting.push(step)
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#work())
  }

  #work(): void {
    this.#scheduled = false
    const until = performance.now() + this.#sliceMs
    do {
      const step = this.#waiting[this.#first++]
      if (step?.()) this.#waiting.push(step)
    } while (this.#first < this.#waiting.length && performance.now() < until)
    if (this.#first * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#first)
      this.#first = 0
    }
    if (this.#waiting.length > 0) this.#schedule()
  }
}
