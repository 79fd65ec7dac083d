// Brings invalidations into the order of their numbers before slaves hear of them: a slave that misses a number forgets
// everybody, and those of other masters come over the feed, a little later than our own.

/** How long the ones before are waited for. A key that was removed is refused within a second. */
const WAIT_MS = 300

/** Tells the linked slaves; null: all keys. Resolves with the number of tunnels that were cut. */
export type SendInvalidation = (number: number, fingerprints: string[] | null) => Promise<number>

interface Waiting {
  fingerprints: string[] | null
  /** The same for all who tell of this number: its master, and who finds it in the store meanwhile. */
  done: Promise<number>
  resolve: (cut: Promise<number>) => void
}

export class Invalidations {
  readonly #send: SendInvalidation
  readonly #waiting = new Map<number, Waiting>()
  #last: number
  #gap: NodeJS.Timeout | undefined

  constructor(last: number, send: SendInvalidation) {
    this.#last = last
    this.#send = send
  }

  /** The number that slaves were told last. */
  get last(): number {
    return this.#last
  }

  /** Resolves when the linked slaves have done it, with the number of tunnels that were cut. One that is old is done. */
  take(number: number, fingerprints: string[] | null): Promise<number> {
    if (number <= this.#last) return Promise.resolve(0)
    const done = this.#wait(number, fingerprints)
    // One about all keys includes those before it.
    if (fingerprints === null) this.#skipTo(number)
    this.#goOn()
    if (this.#waiting.size > 0) this.#gap ??= setTimeout(() => this.#giveUp(), WAIT_MS)
    return done
  }

  /** From now on numbers go on behind this one; who waits is served at once. */
  restart(last: number): void {
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    this.#last = last
    for (const one of waiting) one.resolve(this.#send(last, one.fingerprints))
  }

  close(): void {
    clearTimeout(this.#gap)
  }

  #wait(number: number, fingerprints: string[] | null): Promise<number> {
    const before = this.#waiting.get(number)
    if (before) {
      before.fingerprints = before.fingerprints && fingerprints && [...before.fingerprints, ...fingerprints]
      return before.done
    }
    let resolve: Waiting['resolve'] = () => {}
    const done = new Promise<number>((settle) => (resolve = settle))
    this.#waiting.set(number, { fingerprints, done, resolve })
    return done
  }

  #goOn(): void {
    for (let next = this.#waiting.get(this.#last + 1); next; next = this.#waiting.get(this.#last + 1)) {
      this.#last++
      this.#waiting.delete(this.#last)
      next.resolve(this.#send(this.#last, next.fingerprints))
    }
    if (this.#waiting.size > 0) return
    clearTimeout(this.#gap)
    this.#gap = undefined
  }

  /** A number does not come: whoever was meant by it is asked again with all others. */
  #giveUp(): void {
    this.#gap = undefined
    const newest = Math.max(...this.#waiting.keys())
    const waiting = this.#waiting.get(newest)
    if (waiting) waiting.fingerprints = null
    this.#skipTo(newest)
    this.#goOn()
  }

  /** Those before this one are done with it. */
  #skipTo(number: number): void {
    const covered = [...this.#waiting].filter(([other]) => other < number)
    const done = this.#waiting.get(number)
    if (!done) return
    for (const [other] of covered) this.#waiting.delete(other)
    const own = done.resolve
    done.resolve = (cut) => {
      own(cut)
      for (const [, one] of covered) one.resolve(cut)
    }
    this.#last = number - 1
  }
}
