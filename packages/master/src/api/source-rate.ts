// How often one source may ask: a token bucket, kept as the one moment at which it would be full again (GCRA).
// A bounded number of sources is remembered, so that a flood from many addresses costs no memory.
import { isIP } from 'node:net'

import { plainAddress } from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

const SOURCES = 100_000

export class SourceRate {
  readonly #intervalMs: number
  readonly #burstMs: number
  readonly #now: () => number
  /** Source → when its bucket is full again, ms of a monotonic clock. */
  readonly #fullAt = new LRUCache<string, number>({ max: SOURCES })

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

/** An IPv4 address is a source; of IPv6 it is the /64, which is what one customer gets. */
export function sourceOf(address: string): string {
  const plain = plainAddress(address)
  if (isIP(plain) !== 6) return plain
  const [head = '', tail] = (plain.split('%', 1)[0] ?? '').split('::')
  const before = head === '' ? [] : head.split(':')
  const behind = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - behind.length)
  const groups = [...before, ...Array.from({ length: zeros }, () => '0'), ...behind]
  return groups
    .slice(0, 4)
    .map((group) => parseInt(group, 16).toString(16))
    .join(':')
}
