// The sockets that the gate takes: connections of users, connections between relays, connections to hosts. Tunnels have
// theirs set aside (descriptors.ts); the gate gets what is left, and is refused more instead of taking it from them.
import type { SlaveMetrics } from '../metrics.ts'

export class GateSockets {
  readonly #most: number
  readonly #metrics: Pick<SlaveMetrics, 'gateSockets'>
  #inUse = 0

  constructor(most: number, metrics: Pick<SlaveMetrics, 'gateSockets'>) {
    this.#most = most
    this.#metrics = metrics
  }

  get inUse(): number {
    return this.#inUse
  }

  /** False: none is left. */
  take(): boolean {
    if (this.#inUse >= this.#most) return false
    this.#inUse++
    this.#metrics.gateSockets.set(this.#inUse)
    return true
  }

  give(): void {
    this.#inUse--
    this.#metrics.gateSockets.set(this.#inUse)
  }
}
