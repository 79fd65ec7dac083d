// How often one source may ask: a token bucket, kept as the one moment at which it would be full again (GCRA).
// A bounded number of sources is remembered, so that a flood from many addresses costs no memory.
import { atMost, sourceOf } from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

const SOURCES = 100_000

export class SourceRate {
  readonly #intervalMs: number
  readonly #burstMs: number
  readonly #now: () => number
  /** Source → when its bucket is full again, ms of a monotonic clock. */
  readonly #fullAt = new LRUCache<string, number>(atMost(SOURCES))

  /** `rate` a second on average, `burst` at once. */
  constructor(rate: number, burst: number, now: () => number = () => performance.now()) {
    this.#intervalMs = 1_000 / rate
    this.#burstMs = burst * this.#intervalMs
    this.#now = now
  }

  /** 0: take it. Else the ms after which the source may ask again. */
  take(address: string): number {
    const source = sourceOf(address)
    const now = this.#now()
    const fullAt = Math.max(now, this.#fullAt.get(source) ?? 0) + this.#intervalMs
    // A thousandth of an interval is forgiven: sums of fractions are not exact.
    const early = fullAt - now - this.#burstMs
    if (early > this.#intervalMs / 1_000) return early
    this.#fullAt.set(source, fullAt)
    return 0
  }
}
