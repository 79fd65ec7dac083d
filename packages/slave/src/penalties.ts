// Sources that send bad signatures or unknown keys wait: each offence adds time, and once that passes a threshold the
// source is not let in until its time is over (as sshd's PerSourcePenalties). Never for outages or dropped sockets.
// Free of it are exempt blocks, sources with a live tunnel, and those from which somebody logged in lately: one bad key
// must not shut out a site of five hundred behind one address.
import { atMost, type AddressSet } from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

export interface PenaltiesOptions {
  /** ms that each offence adds; 0: no penalties. */
  eachMs: number
  /** ms from which it is enforced. */
  thresholdMs: number
  /** ms that a source can gather at most. */
  mostMs: number
  exempt: AddressSet
  /** ms, monotonic. */
  now?: () => number
}

interface Penalty {
  until: number
  enforced: boolean
}

const MAX_SOURCES = 65_536
const LATELY_MS = 600_000

export class Penalties {
  readonly #options: PenaltiesOptions
  readonly #now: () => number
  readonly #bySource = new LRUCache<string, Penalty>(atMost(MAX_SOURCES))
  readonly #goodAt = new LRUCache<string, number>(atMost(MAX_SOURCES))
  /** Live tunnels per source. */
  readonly #live = new Map<string, number>()

  constructor(options: PenaltiesOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  /** How long the source must still wait, ms; 0: it may come in. */
  waitMs(source: string, address: string): number {
    const penalty = this.#bySource.get(source)
    if (!penalty?.enforced || this.#free(source, address)) return 0
    const leftMs = penalty.until - this.#now()
    if (leftMs > 0) return leftMs
    this.#bySource.delete(source)
    return 0
  }

  offend(source: string, address: string): void {
    const { eachMs, thresholdMs, mostMs } = this.#options
    if (eachMs === 0 || this.#free(source, address)) return
    const now = this.#now()
    const known = this.#bySource.get(source)
    const until = Math.min(now + mostMs, Math.max(now, known?.until ?? 0) + eachMs)
    this.#bySource.set(source, { until, enforced: known?.enforced === true || until - now >= thresholdMs })
  }

  loggedIn(source: string): void {
    this.#goodAt.set(source, this.#now())
    this.#bySource.delete(source)
  }

  tunnelUp(source: string): void {
    this.#live.set(source, (this.#live.get(source) ?? 0) + 1)
  }

  tunnelDown(source: string): void {
    const left = (this.#live.get(source) ?? 0) - 1
    if (left > 0) this.#live.set(source, left)
    else this.#live.delete(source)
    this.#goodAt.set(source, this.#now())
  }

  #free(source: string, address: string): boolean {
    if (this.#live.has(source) || this.#options.exempt.has(address)) return true
    const goodAt = this.#goodAt.get(source)
    return goodAt !== undefined && this.#now() - goodAt < LATELY_MS
  }
}
