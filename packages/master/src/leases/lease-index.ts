// The leases in memory: what a login, a welcome or a sweep asks for, without the store. Filled from the store, which decides.
import type { Lease } from './lease.ts'

export class LeaseIndex {
  readonly #byId = new Map<string, Lease>()
  readonly #byFingerprint = new Map<string, Lease>()
  readonly #bySlave = new Map<string, Map<string, Lease>>()
  readonly #byDevice = new Map<string, Lease>()

  get size(): number {
    return this.#byId.size
  }

  values(): IterableIterator<Lease> {
    return this.#byId.values()
  }

  get(id: string): Lease | undefined {
    return this.#byId.get(id)
  }

  ofKey(fingerprint: string): Lease | undefined {
    return this.#byFingerprint.get(fingerprint)
  }

  ofDevice(project: string, device: string): Lease | undefined {
    return this.#byDevice.get(`${project}\0${device}`)
  }

  ofSlave(slave: string): Lease[] {
    return [...(this.#bySlave.get(slave)?.values() ?? [])]
  }

  countOf(slave: string): number {
    return this.#bySlave.get(slave)?.size ?? 0
  }

  /** New or changed. */
  set(lease: Lease): void {
    this.delete(lease.id)
    this.#byId.set(lease.id, lease)
    this.#byFingerprint.set(lease.fingerprint, lease)
    this.#byDevice.set(`${lease.project}\0${lease.device}`, lease)
    const ofSlave = this.#bySlave.get(lease.slave)
    if (ofSlave) ofSlave.set(lease.id, lease)
    else this.#bySlave.set(lease.slave, new Map([[lease.id, lease]]))
  }

  delete(id: string): boolean {
    const lease = this.#byId.get(id)
    if (!lease) return false
    this.#byId.delete(id)
    const device = `${lease.project}\0${lease.device}`
    if (this.#byFingerprint.get(lease.fingerprint) === lease) this.#byFingerprint.delete(lease.fingerprint)
    if (this.#byDevice.get(device) === lease) this.#byDevice.delete(device)
    const ofSlave = this.#bySlave.get(lease.slave)
    ofSlave?.delete(id)
    if (ofSlave?.size === 0) this.#bySlave.delete(lease.slave)
    return true
  }
}
