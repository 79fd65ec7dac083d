// The visits of one tunnel: counts them, bounds them, and cuts what is left when the tunnel goes.
// Keeps nothing of a visit that is over.
import type { Log } from '@sshoal/shared'

import type { SlaveMetrics } from './metrics.ts'
import type { VisitEnd } from './ssh2/index.ts'

export interface Visit {
  end(end: VisitEnd): void
  refused(error: unknown): void
}

/** What carries a visit: a visitor's socket, or a visit through the gate. */
export interface Destroyable {
  destroy(): void
}

export class Visits {
  readonly #most: number
  readonly #metrics: SlaveMetrics
  readonly #log: Log
  /** Made at the first visit: most tunnels are idle. */
  #open: Set<Destroyable> | undefined
  /** Channel opens that the device refused. */
  refusedByDevice = 0
  #onQuiet: (() => void) | undefined

  constructor(most: number, metrics: SlaveMetrics, log: Log) {
    this.#most = most
    this.#metrics = metrics
    this.#log = log
  }

  get count(): number {
    return this.#open?.size ?? 0
  }

  /** Undefined: there are too many. */
  begin(carrier: Destroyable): Visit | undefined {
    this.#open ??= new Set()
    if (this.#open.size >= this.#most) {
      this.#metrics.visitsRefused.inc({ reason: 'limit' })
      return undefined
    }
    this.#open.add(carrier)
    this.#metrics.visitBegan()
    return {
      end: ({ bytesToChannel, bytesFromChannel }) => {
        this.#metrics.bytesToDevice.inc(bytesToChannel)
        this.#metrics.bytesFromDevice.inc(bytesFromChannel)
        this.#over(carrier)
      },
      refused: (error) => {
        this.refusedByDevice++
        this.#metrics.visitsRefused.inc({ reason: 'device' })
        this.#log.debug({ err: error }, 'the device refused a visit')
        this.#over(carrier)
      },
    }
  }

  /** Calls once when no visit is open, at once if none is. */
  onQuiet(callback: () => void): void {
    if (this.count === 0) return callback()
    this.#onQuiet = callback
  }

  cutAll(): void {
    for (const carrier of this.#open ?? []) carrier.destroy()
  }

  #over(carrier: Destroyable): void {
    this.#open?.delete(carrier)
    this.#metrics.visitEnded()
    if (this.count > 0) return
    this.#onQuiet?.()
    this.#onQuiet = undefined
  }
}
