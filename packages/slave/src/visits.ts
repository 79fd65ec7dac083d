// The visits of one tunnel: counts them, bounds them, and cuts what is left when the tunnel goes.
// Keeps nothing of a visit that is over.
import type { Socket } from 'node:net'

import type { Log } from '@sshoal/shared'

import type { SlaveMetrics } from './metrics.ts'
import type { VisitEnd } from './ssh2/index.ts'

export interface Visit {
  end(end: VisitEnd): void
  refused(error: unknown): void
}

export class Visits {
  readonly #most: number
  readonly #metrics: SlaveMetrics
  readonly #log: Log
  /** Made at the first visit: most tunnels are idle. */
  #open: Set<Socket> | undefined
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

  /** Undefined: there are too many; the socket is gone. */
  begin(socket: Socket): Visit | undefined {
    this.#open ??= new Set()
    if (this.#open.size >= this.#most) {
      this.#metrics.visitsRefused.inc({ reason: 'limit' })
      socket.destroy()
      return undefined
    }
    this.#open.add(socket)
    this.#metrics.visitBegan()
    return {
      end: ({ bytesToChannel, bytesFromChannel }) => {
        this.#metrics.bytesToDevice.inc(bytesToChannel)
        this.#metrics.bytesFromDevice.inc(bytesFromChannel)
        this.#over(socket)
      },
      refused: (error) => {
        this.refusedByDevice++
        this.#metrics.visitsRefused.inc({ reason: 'device' })
        this.#log.debug({ err: error }, 'the device refused a visit')
        this.#over(socket)
      },
    }
  }

  /** Calls once when no visit is open, at once if none is. */
  onQuiet(callback: () => void): void {
    if (this.count === 0) return callback()
    this.#onQuiet = callback
  }

  cutAll(): void {
    for (const socket of this.#open ?? []) socket.destroy()
  }

  #over(socket: Socket): void {
    this.#open?.delete(socket)
    this.#metrics.visitEnded()
    if (this.count > 0) return
    this.#onQuiet?.()
    this.#onQuiet = undefined
  }
}
