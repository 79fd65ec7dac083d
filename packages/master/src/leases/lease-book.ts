// The leases that this master knows, in memory for logins, welcomes and sweeps; the store, which others may write to, decides.
import { SshoalError } from '@sshoal/shared'

import type { Store } from '../store/store.ts'
import { LeaseEnds } from './lease-ends.ts'
import { LeaseIndex } from './lease-index.ts'
import { refOf, type Lease } from './lease.ts'

export interface LeaseBookDeps {
  store: Store
  /** Other masters write to the store too. */
  shared: boolean
  /** The cluster's clock, ms since 1970. */
  now(): number
}

export interface LeaseFilter {
  project?: string | undefined
  device?: string | undefined
  slave?: string | undefined
  cursor?: string | undefined
  limit: number
}

const SCAN_PAGE = 500

export class LeaseBook {
  readonly #deps: LeaseBookDeps
  readonly #index = new LeaseIndex()
  readonly #ends = new LeaseEnds()
  #refreshing: Promise<void> | undefined
  #loaded = false

  constructor(deps: LeaseBookDeps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#index.size
  }

  /** What is known is all there is; else the store is asked. */
  get complete(): boolean {
    return this.#loaded && !this.#deps.shared
  }

  get loaded(): boolean {
    return this.#loaded
  }

  ofSlave(slave: string): Lease[] {
    return this.#index.ofSlave(slave)
  }

  countOf(slave: string): number {
    return this.#index.countOf(slave)
  }

  /** New or changed. */
  keep(lease: Lease): void {
    const known = this.#index.get(lease.id)
    this.#index.set(lease)
    if (known?.expiresAt !== lease.expiresAt) this.#ends.add(lease.id, lease.expiresAt)
  }

  forget(id: string): void {
    this.#index.delete(id)
  }

  /** Takes out what is due. An entry of a time that was changed, or of a lease that was replaced, means nothing. */
  *due(): IterableIterator<Lease> {
    for (const { id, at } of this.#ends.due(this.#deps.now())) {
      const lease = this.#index.get(id)
      if (lease?.expiresAt === at) yield lease
    }
  }

  /** It could not be ended now. */
  dueAgain({ id, expiresAt }: Lease): void {
    this.#ends.add(id, expiresAt)
  }

  async find(id: string): Promise<Lease | undefined> {
    const known = this.#index.get(id)
    if (known || !this.#deps.shared) return known
    await this.refresh()
    return this.#index.get(id)
  }

  /** Rejects where it cannot be said. */
  async ofKey(fingerprint: string): Promise<Lease | undefined> {
    const known = this.#index.ofKey(fingerprint)
    if (known || this.complete) return known
    // Not after the store's own deadline: somebody waits at his login.
    if (this.#deps.store.state !== 'ok')
      throw new SshoalError('STORE_UNAVAILABLE', 'the store does not answer')
    // Another master may have issued it a moment ago.
    const [found] = await this.#deps.store.find<Lease>('lease', { index: 'fingerprint', value: fingerprint })
    if (found) this.keep(found.value)
    return found?.value
  }

  /** From the store, with the version to change it by. */
  async ofDevice(project: string, device: string): Promise<{ lease: Lease; version: number } | undefined> {
    const found = await this.#deps.store.find<Lease>('lease', { index: 'device', value: device })
    const own = found.find((record) => record.project === project)
    return own && { lease: own.value, version: own.version }
  }

  /** A record that another master wrote, or that stands in the way: known from now on as it is. */
  async look(project: string, id: string): Promise<Lease | undefined> {
    const found = await this.#deps.store.get<Lease>(refOf({ project, id }))
    if (found) this.keep(found.value)
    else this.forget(id)
    return found?.value
  }

  /** Ordered by project and id. Throws INVALID_CURSOR. */
  async list(filter: LeaseFilter): Promise<{ leases: Lease[]; next: string | null }> {
    const leases: Lease[] = []
    let after = filter.cursor
    do {
      const page = await this.#deps.store.scan<Lease>({
        kind: 'lease',
        ...(filter.project === undefined ? {} : { project: filter.project }),
        ...(after === undefined ? {} : { after }),
        limit: filter.limit - leases.length,
      })
      for (const { value } of page.records)
        if (
          (filter.device === undefined || value.device === filter.device) &&
          (filter.slave === undefined || value.slave === filter.slave) &&
          value.expiresAt > this.#deps.now()
        )
          leases.push(value)
      after = page.next ?? undefined
    } while (after !== undefined && leases.length < filter.limit)
    return { leases, next: after ?? null }
  }

  /** Reads all leases again; those who ask meanwhile share one read. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#read().finally(() => {
      this.#refreshing = undefined
    })
    return this.#refreshing
  }

  async #read(): Promise<void> {
    const before = new Set([...this.#index.values()].map(({ id }) => id))
    let after: string | undefined
    do {
      const page = await this.#deps.store.scan<Lease>({
        kind: 'lease',
        limit: SCAN_PAGE,
        ...(after === undefined ? {} : { after }),
      })
      for (const { value } of page.records) {
        before.delete(value.id)
        this.keep(value)
      }
      after = page.next ?? undefined
    } while (after !== undefined)
    // Those that came during the read are not among `before`.
    for (const id of before) this.forget(id)
    this.#loaded = true
  }
}
