// Which port of the range belongs to whom. A device gets the same port again: a hash of (holder, ordinal), then the next
// free one. Fixed ports are their holder's alone. Knows nothing of sockets; a port lost to another process is marked so.
import { createHash } from 'node:crypto'

import type { PortRange } from '@sshoal/shared'

export type PortRefusal = 'PORT_IN_USE' | 'PORT_RESERVED' | 'PORT_OUT_OF_RANGE'

export class Ports {
  readonly range: PortRange
  readonly #holders = new Map<number, string>()
  /** Leased ports are their lease's, whoever they are fixed for otherwise. */
  readonly #leased = new Map<number, string>()
  #fixed = new Map<number, string>()

  constructor(range: PortRange) {
    this.range = range
  }

  get inUse(): number {
    return this.#holders.size
  }

  get size(): number {
    return this.range.last - this.range.first + 1
  }

  contains(port: number): boolean {
    return port >= this.range.first && port <= this.range.last
  }

  /** Replaces who owns which fixed port; those that are taken by others stay with them until they end. */
  setFixed(owners: ReadonlyMap<number, string>): void {
    this.#fixed = new Map(owners)
  }

  /** Nobody has it, and it is kept for nobody. */
  isFree(port: number): boolean {
    return this.contains(port) && !this.#holders.has(port) && !this.#reserved(port)
  }

  /** Keeps a free port for a lease; false: it is not free. `force`: also where somebody still has it. */
  lease(port: number, holder: string, { force = false } = {}): boolean {
    if (!force && !this.isFree(port)) return false
    this.#leased.set(port, holder)
    return true
  }

  unlease(port: number, holder: string): void {
    if (this.#leased.get(port) === holder) this.#leased.delete(port)
  }

  #reserved(port: number): boolean {
    return this.#leased.has(port) || this.#fixed.has(port)
  }

  /** The fixed port of this very number is the holder's, or nobody's. */
  #mayTake(port: number, holder: string): boolean {
    const owner = this.#leased.get(port) ?? this.#fixed.get(port)
    return owner === undefined || owner === holder
  }

  /** Why the holder cannot have exactly `port`, or undefined. One that it has already counts as free: it replaces itself. */
  refusal(port: number, holder: string): PortRefusal | undefined {
    if (!this.contains(port)) return 'PORT_OUT_OF_RANGE'
    if (!this.#mayTake(port, holder)) return 'PORT_RESERVED'
    const current = this.#holders.get(port)
    return current === undefined || current === holder ? undefined : 'PORT_IN_USE'
  }

  /** Takes exactly `port`; false: somebody has it. */
  take(port: number, holder: string): boolean {
    if (this.#holders.has(port) || this.refusal(port, holder)) return false
    this.#holders.set(port, holder)
    return true
  }

  /** Takes the holder's usual port for its `ordinal`-th bound forward, or the next free one that is not in `except`. */
  choose(holder: string, ordinal: number, except?: ReadonlySet<number>): number | undefined {
    const size = this.size
    const start = hash(holder, ordinal) % size
    for (let step = 0; step < size; step++) {
      const port = this.range.first + ((start + step) % size)
      if (this.#holders.has(port) || this.#reserved(port) || except?.has(port)) continue
      this.#holders.set(port, holder)
      return port
    }
    return undefined
  }

  release(port: number, holder: string): void {
    if (this.#holders.get(port) === holder) this.#holders.delete(port)
  }
}

/** Spreads holders over the range; the same on every slave and after every restart. */
function hash(holder: string, ordinal: number): number {
  return createHash('sha256').update(`${holder}\0${ordinal}`).digest().readUInt32BE(0)
}
