// Issues leases. The slave says which port is free, the store's claims are the locks, and only what both agreed to is
// answered; what does not come to stand in the store is taken back from the slave.
import { errorText, makeSshKeyPair, SshoalError } from '@sshoal/shared'

import { DeviceTargets } from '../access/device-targets.ts'
import type { Registry } from '../registry/registry.ts'
import type { Change, Store } from '../store/store.ts'
import type { LeaseBook } from './lease-book.ts'
import { LeaseDevices, type DeviceName } from './lease-devices.ts'
import { leaseBusy, leaseKeyTaken, leasePortTaken } from './lease-errors.ts'
import type { LeaseHands } from './lease-hands.ts'
import { LeasePlacement } from './lease-placement.ts'
import { readTimeout, type LeaseRequest } from './lease-request.ts'
import type { LeaseSlaves } from './lease-slaves.ts'
import { ENDS, makeLeaseId, putLease, readLeaseKey, refOf, type Lease } from './lease.ts'
import { OneAtATime } from './one-at-a-time.ts'

export interface LeaseDeskDeps {
  store: Store
  registry: Pick<Registry, 'get' | 'byFingerprint'>
  slaves: LeaseSlaves
  /** `--lease-max`, ms. */
  maxMs: number
  now(): number
}

export interface IssuedLease {
  lease: Lease
  /** Given this once; nothing here keeps it. */
  privateKey: string | undefined
}

interface Wanted extends LeaseRequest {
  timeoutMs: number
  name: DeviceName
  key: { publicKey: string; fingerprint: string }
}

const ATTEMPTS = 40

export class LeaseDesk {
  readonly #deps: LeaseDeskDeps
  readonly #book: LeaseBook
  readonly #hands: LeaseHands
  readonly #devices: LeaseDevices
  readonly #placement: LeasePlacement
  readonly #turns = new OneAtATime()

  constructor(deps: LeaseDeskDeps, book: LeaseBook, hands: LeaseHands) {
    this.#deps = deps
    this.#book = book
    this.#hands = hands
    this.#devices = new LeaseDevices(deps.registry, new DeviceTargets(deps.store), () => deps.now())
    this.#placement = new LeasePlacement(deps.slaves, (slave) => book.countOf(slave))
  }

  async issue(project: string, request: LeaseRequest): Promise<IssuedLease> {
    const timeoutMs = readTimeout(request.timeout, this.#deps.maxMs)
    const name = this.#devices.nameOf(request)
    const given = request.publicKey === undefined ? undefined : readLeaseKey(request.publicKey)
    const device = await this.#devices.find(project, name)
    if (given) await this.#refuseTaken(project, device.id, given.fingerprint)
    // The key first: where none can be made, nothing is locked.
    const pair = given ? undefined : await makeKey(request, device.id)
    const key = given ?? readLeaseKey(pair?.publicKey ?? '')
    const lease = await this.#turns.take(`${project}\0${device.id}`, () =>
      this.#place(project, { ...request, timeoutMs, name, key }),
    )
    return { lease, privateKey: pair?.privateKey }
  }

  /** A lease's key is nobody else's: no device's, and no other device's lease. */
  async #refuseTaken(project: string, device: string, fingerprint: string): Promise<void> {
    const [owner] = await this.#deps.registry.byFingerprint(fingerprint)
    const lease = await this.#book.ofKey(fingerprint)
    const isOwn = lease?.project === project && lease.device === device
    if (owner || (lease && !isOwn)) throw leaseKeyTaken(fingerprint)
  }

  async #place(project: string, wanted: Wanted): Promise<Lease> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const device = await this.#devices.find(project, wanted.name)
      const old = await this.#book.ofDevice(project, device.id)
      const now = this.#deps.now()
      const draft = {
        id: makeLeaseId(),
        project,
        device: device.id,
        ...wanted.key,
        issuedBy: wanted.issuedBy,
        issuedAt: now,
        expiresAt: now + wanted.timeoutMs,
      }
      const place = await this.#placement.place(draft, {
        region: wanted.region ?? device.region,
        port: wanted.port,
        old: old?.lease,
      })
      const lease: Lease = { ...draft, ...place }
      const changes: Change[] = [putLease(lease, 'absent')]
      if (old) changes.unshift({ type: 'remove', ref: refOf(old.lease), expect: old.version })
      changes.unshift(...device.create)
      const outcome = await this.#commit(lease, changes, old?.lease)
      if (outcome === 'done') {
        this.#book.keep(lease)
        if (old) await this.#hands.ended(old.lease, 'replaced', { reason: ENDS.replaced.reason })
        this.#hands.announce('lease.issued', lease, { by: lease.issuedBy })
        return lease
      }
      if (outcome === 'key') throw leaseKeyTaken(lease.fingerprint)
      if (outcome === 'port' && wanted.port !== undefined) throw leasePortTaken(wanted.port)
    }
    throw leaseBusy()
  }

  async #commit(
    lease: Lease,
    changes: Change[],
    old: Lease | undefined,
  ): Promise<'done' | 'key' | 'port' | 'again'> {
    const outcome = await this.#deps.store.transact(changes).catch(async (error: unknown) => {
      await this.#takeBack(lease, old)
      throw error
    })
    if (outcome.done) return 'done'
    await this.#takeBack(lease, old)
    const { conflict } = outcome
    if (conflict.reason !== 'taken' || conflict.ref.kind !== 'lease') return 'again'
    if (conflict.claim.index === 'fingerprint') return 'key'
    if (conflict.claim.index !== 'port') return 'again'
    // A lease that its slave has forgotten has its port again; one that outlived its time is the next sweep's.
    const holder = await this.#book.look(conflict.by.project, conflict.by.id)
    if (holder && holder.expiresAt > this.#deps.now()) await this.#hands.tellSlave(holder)
    return 'port'
  }

  async #takeBack(lease: Lease, old: Lease | undefined): Promise<void> {
    await this.#hands.endOn(lease, 'failed')
    // Where the port was the older lease's, that one has it again.
    if (old?.slave === lease.slave && old.port === lease.port) await this.#hands.tellSlave(old)
  }
}

async function makeKey({ type = 'ed25519' }: LeaseRequest, device: string) {
  try {
    return await makeSshKeyPair(type, device)
  } catch (error) {
    throw new SshoalError('KEY_FAILED', `no key could be made: ${errorText(error)}`, { cause: error })
  }
}
