// Live tunnels by holder, in buckets, so that a page costs the same at ten tunnels and at a million, and a cursor stays
// good while tunnels come and go. All holders of one device share a bucket.
import { SshoalError } from '@sshoal/shared'

import type { LiveTunnel } from './live-tunnel.ts'

export class TunnelTable {
  readonly #buckets: (Map<string, LiveTunnel> | undefined)[]
  readonly #resized: () => void
  #size = 0

  /** `resized`: told whenever there are more or fewer. */
  constructor(buckets: number, resized: () => void = () => {}) {
    this.#resized = resized
    this.#buckets = Array.from({ length: buckets }, () => undefined)
  }

  get size(): number {
    return this.#size
  }

  get(key: string): LiveTunnel | undefined {
    return this.#buckets[this.#bucketOf(key)]?.get(key)
  }

  set(key: string, tunnel: LiveTunnel): void {
    const number = this.#bucketOf(key)
    const bucket = (this.#buckets[number] ??= new Map<string, LiveTunnel>())
    const before = bucket.size
    bucket.set(key, tunnel)
    if (bucket.size === before) return
    this.#size++
    this.#resized()
  }

  /** Only where exactly this tunnel stands there. */
  delete(key: string, tunnel: LiveTunnel): boolean {
    const bucket = this.#buckets[this.#bucketOf(key)]
    if (bucket?.get(key) !== tunnel) return false
    bucket.delete(key)
    this.#size--
    this.#resized()
    return true
  }

  *values(): IterableIterator<LiveTunnel> {
    for (const bucket of this.#buckets) if (bucket) yield* bucket.values()
  }

  /** The device's own tunnel and those of its leases. */
  ofDevice(project: string, device: string): LiveTunnel[] {
    const bucket = this.#buckets[this.#bucketOf(`${project}\0${device}`)]
    return bucket
      ? [...bucket.values()].filter((tunnel) => tunnel.project === project && tunnel.device === device)
      : []
  }

  /** Tunnels behind `cursor` that `fits` lets through. Throws INVALID_CURSOR. */
  page(
    cursor: string | undefined,
    limit: number,
    fits: (tunnel: LiveTunnel) => boolean,
  ): { tunnels: LiveTunnel[]; next: string | null } {
    const after = cursor === undefined ? undefined : readCursor(cursor)
    const found: LiveTunnel[] = []
    for (
      let number = after === undefined ? 0 : this.#bucketOf(after);
      number < this.#buckets.length;
      number++
    ) {
      const bucket = this.#buckets[number]
      if (!bucket || bucket.size === 0) continue
      const keys = [...bucket.keys()].sort()
      for (const key of keys) {
        if (after !== undefined && number === this.#bucketOf(after) && key <= after) continue
        const tunnel = bucket.get(key)
        if (!tunnel || !fits(tunnel)) continue
        // One more than asked for stands behind this page.
        if (found.length === limit) return { tunnels: found, next: writeCursor(found.at(-1)?.key ?? '') }
        found.push(tunnel)
      }
    }
    return { tunnels: found, next: null }
  }

  /** FNV-1a over the project and the device, not the lease. */
  #bucketOf(key: string): number {
    let hash = 0x811c9dc5
    let nuls = 0
    for (let i = 0; i < key.length; i++) {
      const code = key.charCodeAt(i)
      if (code === 0 && ++nuls === 2) break
      hash = Math.imul(hash ^ code, 0x01000193)
    }
    return (hash >>> 0) % this.#buckets.length
  }
}

function writeCursor(key: string): string {
  return Buffer.from(key).toString('base64url')
}

function readCursor(cursor: string): string {
  const key = Buffer.from(cursor, 'base64url').toString()
  if (!key.includes('\0') || writeCursor(key) !== cursor)
    throw new SshoalError('INVALID_CURSOR', 'the cursor is not one that a page before gave as `next`')
  return key
}
