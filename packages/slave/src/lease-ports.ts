// Which port the next lease gets: the one that has been free the longest, so that visitors of a lease that just ended do
// not meet another device. Costs the same however many are leased: leased ports are not in the queue at all.
import type { Ports } from './ports.ts'

export class LeasePorts {
  readonly #ports: Ports
  #queue: number[]
  #head = 0
  readonly #queued: Set<number>

  constructor(ports: Ports) {
    this.#ports = ports
    this.#queue = Array.from({ length: ports.size }, (_, n) => ports.range.first + n)
    this.#queued = new Set(this.#queue)
  }

  /** Free ones, each at most once; one that is not taken in the end goes to the back. */
  *candidates(): IterableIterator<number> {
    for (let left = this.#queued.size; left > 0; left--) {
      const port = this.#shift()
      if (port === undefined) return
      // Back in line before it is tried: who takes it, takes it out.
      this.give(port)
      if (this.#ports.isFree(port)) yield port
    }
  }

  /** It is leased. */
  take(port: number): void {
    this.#queued.delete(port)
  }

  /** It is leased no more. */
  give(port: number): void {
    if (!this.#ports.contains(port) || this.#queued.has(port)) return
    this.#queued.add(port)
    this.#queue.push(port)
  }

  #shift(): number | undefined {
    while (this.#head < this.#queue.length) {
      const port = this.#queue[this.#head++]
      if (this.#head > 1_024 && this.#head * 2 > this.#queue.length) {
        this.#queue = this.#queue.slice(this.#head)
        this.#head = 0
      }
      // An entry that was taken meanwhile.
      if (port !== undefined && this.#queued.delete(port)) return port
    }
    return undefined
  }
}
