// Who computes next while many clients are on their way to a login: one piece of work per source in turn, a few
// milliseconds per turn of the event loop. A thousand key exchanges of one source take seconds (an 8192-bit
// Diffie-Hellman alone 20 ms); so they take them from that source, and a client elsewhere waits for one of them at most.
// libuv accepts one connection per turn of the loop, so that whoever stands behind a thousand would wait for a thousand
// pieces of work: while connections arrive, work rests, though never for more than three quarters of the time.
import type { Socket } from 'node:net'

import { Passing } from '@sshoal/shared'

const SLICE_MS = 5
/** What the clients of one source may leave waiting: five hundred devices that come at once need a third of it. */
const MOST_BYTES = 2 * 1024 * 1024

interface Queue {
  source: string
  steps: { bytes: number; run: () => void }[]
  bytes: number
}

export class FairTurns {
  readonly #bySource = new Passing<string, Queue>()
  /** The same; the first has waited longest for its turn. */
  readonly #queues: Queue[] = []
  #scheduled = false
  #arrived = false
  #restUntil = 0
  readonly #sourceOf = new WeakMap<Socket, string>()

  /** A connection was accepted, whatever becomes of it; more may stand behind it. */
  arrived(): void {
    this.#arrived = true
  }

  /** Where a client comes from, when that is not its socket's address. */
  belongs(client: Socket, source: string): void {
    this.#sourceOf.set(client, source)
  }

  /** Runs the step later, in the order of its source. False: too much of that source is waiting, and it never runs. */
  add(client: Socket, bytes: number, run: () => void): boolean {
    const source = this.#sourceOf.get(client) ?? client.remoteAddress ?? ''
    let queue = this.#bySource.get(source)
    if ((queue?.bytes ?? 0) + bytes > MOST_BYTES) return false
    if (queue === undefined) {
      queue = { source, steps: [], bytes: 0 }
      this.#bySource.set(source, queue)
      this.#queues.push(queue)
    }
    queue.bytes += bytes
    queue.steps.push({ bytes, run })
    this.#schedule()
    return true
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#work())
  }

  #work(): void {
    this.#scheduled = false
    const beganAt = performance.now()
    const rest = this.#arrived && beganAt < this.#restUntil
    this.#arrived = false
    if (!rest) this.#slice(beganAt)
    if (this.#queues.length > 0) this.#schedule()
  }

  #slice(beganAt: number): void {
    for (let queue = this.#queues.shift(); queue; queue = this.#queues.shift()) {
      const step = queue.steps.shift()
      queue.bytes -= step?.bytes ?? 0
      // At the end: this loop comes to it again when every other source had its turn.
      if (queue.steps.length > 0) this.#queues.push(queue)
      else this.#bySource.delete(queue.source)
      step?.run()
      if (performance.now() - beganAt >= SLICE_MS) break
    }
    const now = performance.now()
    this.#restUntil = now + 3 * (now - beganAt)
  }
}
