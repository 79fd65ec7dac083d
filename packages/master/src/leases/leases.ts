// Leases: a key and a port of one slave for one device, for a limited time. The slave says which port is free, the store's
// claims are the locks, and only what both agreed to is answered. Whoever ends one takes it out of the store first, so that
// no login is answered any more, then its slave refuses the key, cuts the tunnel and frees the port in one step.
import {
  errorText,
  fingerprintOf,
  makeSshKeyPair,
  SshoalError,
  type LeaseGrant,
  type Log,
  type WhoAnswer,
} from '@sshoal/shared'

import type { ClusterEvent, Events } from '../events/events.ts'
import type { HookQuestion } from '../hook/ask-hook.ts'
import type { Registry } from '../registry/registry.ts'
import type { Store } from '../store/store.ts'
import { LeaseDevices } from './lease-devices.ts'
import { LeaseEnds } from './lease-ends.ts'
import { LeaseIndex } from './lease-index.ts'
import { LeasePlacement } from './lease-placement.ts'
import { readTimeout, type LeaseRequest } from './lease-request.ts'
import type { LeaseSlave, LeaseSlaves } from './lease-slaves.ts'
import {
  ENDS,
  grantOf,
  makeLeaseId,
  putLease,
  readLeaseKey,
  refOf,
  type Lease,
  type LeaseEnd,
  type LeaseState,
} from './lease.ts'
import { OneAtATime } from './one-at-a-time.ts'

export interface LeasesDeps {
  store: Store
  registry: Pick<Registry, 'get' | 'byFingerprint'>
  slaves: LeaseSlaves
  /** Told to every master. */
  announce: Events['publish']
  /** For this master's listeners alone: the others notice by themselves. */
  publish: Events['publish']
  log: Log
  /** `--lease-max`, ms. */
  maxMs: number
  /** Other masters write to the store too. */
  shared: boolean
  /** The cluster's clock, ms since 1970. */
  now(): number
  /** What happened, for the metrics. */
  count(what: 'issued' | 'extended' | LeaseEnd): void
  /** A request that was not met, and why. */
  countRefused(code: string): void
}

export interface IssuedLease {
  lease: Lease
  /** Given this once; nothing here keeps it. */
  privateKey: string | undefined
}

const ATTEMPTS = 40
/** How often it is looked who is due: well within the second in which a lease must end. */
const SWEEP_EVERY_MS = 200
/** What other masters did and this one did not hear of. */
const REFRESH_EVERY_MS = 30_000
/** When the store does not answer at an end, it is tried again. */
const RETRY_MS = 1_000
const SCAN_PAGE = 500

export class Leases {
  readonly #deps: LeasesDeps
  readonly #index = new LeaseIndex()
  readonly #ends = new LeaseEnds()
  readonly #turns = new OneAtATime()
  readonly #devices: LeaseDevices
  readonly #placement: LeasePlacement
  readonly #timers: NodeJS.Timeout[] = []
  #ending = 0
  #refreshing: Promise<void> | undefined
  #loaded = false

  constructor(deps: LeasesDeps) {
    this.#deps = deps
    this.#devices = new LeaseDevices(deps.registry, () => deps.now())
    this.#placement = new LeasePlacement(deps.slaves, (slave) => this.#index.countOf(slave))
  }

  get size(): number {
    return this.#index.size
  }

  /** Leases that are due and not ended yet. */
  get backlog(): number {
    return this.#ending
  }

  /** Reads the store, ends what ended while nobody looked, and keeps looking. A store that is away is read when it is back. */
  async start(): Promise<void> {
    await this.refresh().catch((error: unknown) =>
      this.#deps.log.warn({ err: error }, 'leases cannot be read yet'),
    )
    this.#every(SWEEP_EVERY_MS, () => this.sweep())
    this.#every(this.#deps.shared ? REFRESH_EVERY_MS : RETRY_MS, () => {
      if (this.#deps.shared || !this.#loaded) void this.refresh().catch(() => {}) // the next look tries again
    })
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer)
  }

  now(): number {
    return this.#deps.now()
  }

  /** Throws INVALID_TIMEOUT, INVALID_MAC, INVALID_KEY, KEY_TAKEN, UNKNOWN_DEVICE, NO_SLAVE, NO_PORT, PORT_TAKEN, … */
  async request(project: string, request: LeaseRequest): Promise<IssuedLease> {
    try {
      return await this.#issue(project, request)
    } catch (error) {
      this.#deps.countRefused(error instanceof SshoalError ? error.code : 'INTERNAL')
      throw error
    }
  }

  async #issue(project: string, request: LeaseRequest): Promise<IssuedLease> {
    const timeoutMs = readTimeout(request.timeout, this.#deps.maxMs)
    const name = this.#devices.nameOf(request)
    const given = request.publicKey === undefined ? undefined : readLeaseKey(request.publicKey)
    if (given) await this.#refuseTaken(project, name, given.fingerprint)
    await this.#devices.find(project, name)
    // The key first: where none can be made, nothing is locked.
    const pair = given ? undefined : await this.#makeKey(request)
    const key = given ?? readLeaseKey(pair?.publicKey ?? '')
    const lease = await this.#turns.take(`${project}\0${name.id}`, () =>
      this.#place(project, { ...request, timeoutMs, name, key }),
    )
    return { lease, privateKey: pair?.privateKey }
  }

  /** Throws UNKNOWN_LEASE. */
  async get(project: string | undefined, id: string): Promise<Lease> {
    const known = await this.#find(id)
    if (!known || (project !== undefined && known.project !== project) || known.expiresAt <= this.#deps.now())
      throw unknown(id)
    return known
  }

  /** Ordered by project and id. Throws INVALID_CURSOR. */
  async list(filter: {
    project?: string | undefined
    device?: string | undefined
    slave?: string | undefined
    cursor?: string | undefined
    limit: number
  }): Promise<{ leases: Lease[]; next: string | null }> {
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

  /** Undefined: it is lost. */
  slaveOf(lease: Lease): LeaseSlave | undefined {
    return this.#deps.slaves.get(lease.slave)
  }

  stateOf(lease: Lease): LeaseState {
    if (!this.slaveOf(lease)) return 'stranded'
    return lease.portLost ? 'port-lost' : 'active'
  }

  /** From now on it lasts this long. Throws UNKNOWN_LEASE, INVALID_TIMEOUT. */
  async extend(
    project: string | undefined,
    id: string,
    timeout: number | string,
    by: string,
  ): Promise<Lease> {
    const timeoutMs = readTimeout(timeout, this.#deps.maxMs)
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const known = await this.get(project, id)
      const found = await this.#deps.store.get<Lease>(refOf(known))
      if (!found || found.value.expiresAt <= this.#deps.now()) throw unknown(id)
      const lease = { ...found.value, expiresAt: this.#deps.now() + timeoutMs }
      if (!(await this.#deps.store.transact([putLease(lease, found.version)])).done) continue
      this.#keep(lease)
      const answer = await this.#grant(lease)
      if (answer === 'refused') {
        // Its slave ended it a moment before, and the port has gone to somebody else.
        await this.#end(lease, 'failed')
        throw unknown(id)
      }
      this.#deps.count('extended')
      this.#announce('lease.extended', lease, { by })
      return lease
    }
    throw busy()
  }

  /** Resolves with whether a tunnel was cut. Throws UNKNOWN_LEASE. */
  async revoke(project: string | undefined, id: string, by: string): Promise<boolean> {
    const lease = await this.get(project, id)
    const ended = await this.#end(lease, 'revoked', { by })
    if (!ended) throw unknown(id)
    return ended.cut
  }

  /** The device is gone, and so is what was leased to it. */
  async revokeOf(project: string, device: string): Promise<void> {
    const [lease] = await this.#deps.store.find<Lease>('lease', { index: 'device', value: device })
    const found = this.#index.ofDevice(project, device) ?? lease?.value
    if (found?.project === project) await this.#end(found, 'revoked', { by: 'the device was removed' })
  }

  /** The answer about a lease's key; undefined: it is none. Rejects where the store cannot say. */
  async who(question: HookQuestion): Promise<WhoAnswer | undefined> {
    const fingerprint = fingerprintOf(Buffer.from(question.publicKey, 'base64'))
    const lease = this.#index.ofKey(fingerprint) ?? (await this.#readKey(fingerprint))
    if (!lease) return undefined
    const remainingMs = lease.expiresAt - this.#deps.now()
    if (remainingMs <= 0) return { outcome: 'refused', ...ENDS.expired }
    if (lease.slave !== question.slave) {
      const slave = this.#deps.slaves.get(lease.slave)
      const where = slave ? `${slave.host ?? 'this host'} port ${slave.sshPort}` : 'which is lost'
      return {
        outcome: 'refused',
        code: 'LEASE_ELSEWHERE',
        reason: `this key is a lease on slave ${lease.slave} (${where}), not on ${question.slave}`,
      }
    }
    const { project, device, id, port } = lease
    return {
      outcome: 'known',
      identity: { device: { project, device, lease: id, ports: [port], maxForwards: 1, remainingMs } },
      // The slave keeps it as a lease, by its own clock.
      cacheMs: 0,
      staleMs: 0,
      addressBound: false,
    }
  }

  /** For a welcome; undefined: they cannot be read now. */
  async grantsOf(slave: string): Promise<LeaseGrant[] | undefined> {
    if (this.#deps.shared || !this.#loaded) {
      const read = await this.refresh().then(
        () => true,
        () => false,
      )
      if (!read) return undefined
    }
    const now = this.#deps.now()
    return this.#index
      .ofSlave(slave)
      .filter(({ expiresAt }) => expiresAt > now)
      .map((lease) => grantOf(lease, now))
  }

  /** A slave could not open a leased port: the lease waits for its device to be issued another. */
  async portLost(publicKey: string, reason: string): Promise<void> {
    const lease = this.#index.ofKey(fingerprintOf(Buffer.from(publicKey, 'base64')))
    if (!lease || lease.portLost) return
    const found = await this.#deps.store.get<Lease>(refOf(lease))
    if (!found || found.value.portLost) return
    const lost = { ...found.value, portLost: true }
    if (!(await this.#deps.store.transact([putLease(lost, found.version)])).done) return
    this.#keep(lost)
    this.#announce('lease.port-lost', lost, { reason })
  }

  /** What this master hears: of its own, of the slaves, and of the other masters. */
  onEvent({ type, project, data }: Pick<ClusterEvent, 'type' | 'project' | 'data'>): void {
    const { slave, lease } = data as { slave?: string; lease?: string }
    if (type === 'slave.lost' && slave !== undefined)
      for (const stranded of this.#index.ofSlave(slave))
        this.#deps.publish('lease.stranded', facts(stranded), { project: stranded.project })
    else if (this.#deps.shared && type.startsWith('lease.') && lease !== undefined && project !== undefined)
      void this.#look(project, lease).catch(() => {}) // the next refresh sees it too
  }

  /** Ends what is due. By itself several times a second. */
  sweep(): void {
    for (const { id, at } of this.#ends.due(this.#deps.now())) {
      const lease = this.#index.get(id)
      // An entry of a time that was extended, or of a lease that was replaced, means nothing.
      if (lease?.expiresAt !== at) continue
      this.#ending++
      void this.#end(lease, 'expired')
        .catch((error: unknown) => {
          this.#deps.log.warn({ lease: id, reason: errorText(error) }, 'a lease cannot be ended yet')
          setTimeout(() => this.#ends.add(id, at), RETRY_MS).unref()
        })
        .finally(() => this.#ending--)
    }
  }

  /** Reads all leases again; those who ask meanwhile share one read. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#read().finally(() => {
      this.#refreshing = undefined
    })
    return this.#refreshing
  }

  // ---- inside

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
        this.#keep(value)
      }
      after = page.next ?? undefined
    } while (after !== undefined)
    // Those that came during the read are not among `before`.
    for (const id of before) this.#index.delete(id)
    this.#loaded = true
  }

  #keep(lease: Lease): void {
    const known = this.#index.get(lease.id)
    this.#index.set(lease)
    if (known?.expiresAt !== lease.expiresAt) this.#ends.add(lease.id, lease.expiresAt)
  }

  async #makeKey({ type = 'ed25519', device, macaddress }: LeaseRequest) {
    try {
      return await makeSshKeyPair(type, device ?? macaddress ?? '')
    } catch (error) {
      throw new SshoalError('KEY_FAILED', `no key could be made: ${errorText(error)}`, { cause: error })
    }
  }

  /** A lease's key is nobody else's: no device's, and no other device's lease. */
  async #refuseTaken(project: string, name: { id: string }, fingerprint: string): Promise<void> {
    const [device] = await this.#deps.registry.byFingerprint(fingerprint)
    const [lease] = await this.#deps.store.find<Lease>('lease', { index: 'fingerprint', value: fingerprint })
    const isOwn = lease?.value.project === project && lease.value.device === name.id
    if (device || (lease && !isOwn))
      throw new SshoalError('KEY_TAKEN', `the key ${fingerprint} belongs to a device or to another lease`, {
        details: { fingerprint },
      })
  }

  async #place(
    project: string,
    wanted: LeaseRequest & {
      timeoutMs: number
      name: { id: string; text: string }
      key: { publicKey: string; fingerprint: string }
    },
  ): Promise<Lease> {
    const { store } = this.#deps
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const device = await this.#devices.find(project, wanted.name)
      const old = (await store.find<Lease>('lease', { index: 'device', value: device.id })).find(
        (record) => record.project === project,
      )
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
      const placed = await this.#placement.place(draft, {
        region: wanted.region ?? device.region,
        port: wanted.port,
        old: old?.value,
      })
      const lease: Lease = { ...draft, ...placed }
      const outcome = await this.#commit(
        lease,
        [
          ...(device.create ? [device.create] : []),
          ...(old ? [{ type: 'remove' as const, ref: refOf(old.value), expect: old.version }] : []),
          putLease(lease, 'absent'),
        ],
        old?.value,
      )
      if (outcome === 'done') {
        this.#keep(lease)
        if (old) await this.#replaced(old.value)
        this.#deps.count('issued')
        this.#announce('lease.issued', lease, { by: lease.issuedBy })
        return lease
      }
      if (outcome === 'key')
        throw new SshoalError('KEY_TAKEN', `the key ${lease.fingerprint} is leased already`, {
          details: { fingerprint: lease.fingerprint },
        })
      if (outcome === 'port' && wanted.port !== undefined) throw portTaken(wanted.port)
    }
    throw busy()
  }

  /** What does not come to stand in the store is taken back from the slave. */
  async #commit(
    lease: Lease,
    changes: Parameters<Store['transact']>[0],
    old: Lease | undefined,
  ): Promise<'done' | 'key' | 'port' | 'again'> {
    try {
      const outcome = await this.#deps.store.transact(changes)
      if (outcome.done) return 'done'
      await this.#takeBack(lease, old)
      const { conflict } = outcome
      if (conflict.reason !== 'taken' || conflict.ref.kind !== 'lease') return 'again'
      if (conflict.claim.index === 'port') {
        // A lease that its slave has forgotten has its port again; one that outlived its time is the next sweep's.
        const holder = await this.#look(conflict.by.project, conflict.by.id)
        if (holder && holder.expiresAt > this.#deps.now()) await this.#grant(holder)
        return 'port'
      }
      return conflict.claim.index === 'fingerprint' ? 'key' : 'again'
    } catch (error) {
      await this.#takeBack(lease, old)
      throw error
    }
  }

  /** A record that another master wrote, or that stands in the way: known from now on, and ended if it is due. */
  async #look(project: string, id: string): Promise<Lease | undefined> {
    const found = await this.#deps.store.get<Lease>(refOf({ project, id }))
    if (!found) this.#index.delete(id)
    else this.#keep(found.value)
    return found?.value
  }

  async #takeBack(lease: Lease, old: Lease | undefined): Promise<void> {
    await this.#endOn(lease, 'failed')
    // Where the port was the older lease's, that one has it again.
    if (old?.slave === lease.slave && old.port === lease.port) await this.#grant(old)
  }

  async #replaced(old: Lease): Promise<void> {
    this.#index.delete(old.id)
    const cut = await this.#endOn(old, 'replaced')
    this.#deps.count('replaced')
    this.#announce('lease.revoked', old, { cut, reason: ENDS.replaced.reason })
  }

  async #end(lease: Lease, how: LeaseEnd, more: object = {}): Promise<{ cut: boolean } | undefined> {
    const { store } = this.#deps
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = await store.get<Lease>(refOf(lease))
      if (!found) {
        this.#index.delete(lease.id)
        return undefined
      }
      if (how === 'expired' && found.value.expiresAt > this.#deps.now()) {
        this.#keep(found.value)
        return undefined
      }
      const outcome = await store.transact([{ type: 'remove', ref: refOf(lease), expect: found.version }])
      if (!outcome.done) continue
      this.#index.delete(lease.id)
      const cut = await this.#endOn(lease, how)
      this.#deps.count(how)
      this.#announce(how === 'expired' ? 'lease.expired' : 'lease.revoked', lease, { cut, ...more })
      return { cut }
    }
    throw busy()
  }

  /** A slave that cannot be reached hears of it with its next welcome, and ends it by itself in time. */
  async #endOn(lease: Lease, how: LeaseEnd): Promise<boolean> {
    try {
      return await this.#deps.slaves.end(lease.slave, lease.id, ENDS[how])
    } catch (error) {
      this.#deps.log.info(
        { lease: lease.id, slave: lease.slave, reason: errorText(error) },
        'a slave did not confirm the end of a lease',
      )
      return false
    }
  }

  async #grant(lease: Lease): Promise<'granted' | 'refused' | 'unreachable'> {
    const { lease: id, ...grant } = grantOf(lease, this.#deps.now())
    try {
      const answer = await this.#deps.slaves.grant(lease.slave, { ...grant, lease: id })
      return answer.outcome
    } catch (error) {
      this.#deps.log.info(
        { lease: id, slave: lease.slave, reason: errorText(error) },
        'a slave did not confirm the time of a lease',
      )
      return 'unreachable'
    }
  }

  async #find(id: string): Promise<Lease | undefined> {
    const known = this.#index.get(id)
    if (known || !this.#deps.shared) return known
    await this.refresh()
    return this.#index.get(id)
  }

  /** Another master may have issued it a moment ago. */
  async #readKey(fingerprint: string): Promise<Lease | undefined> {
    if (!this.#deps.shared && this.#loaded) return undefined
    // Not after the store's own deadline: somebody waits at his login.
    if (this.#deps.store.state !== 'ok')
      throw new SshoalError('STORE_UNAVAILABLE', 'the store does not answer')
    const [found] = await this.#deps.store.find<Lease>('lease', { index: 'fingerprint', value: fingerprint })
    if (found) this.#keep(found.value)
    return found?.value
  }

  #announce(type: string, lease: Lease, more: object): void {
    this.#deps.announce(type, { ...facts(lease), ...more }, { project: lease.project })
    this.#deps.log.info({ lease: lease.id, device: lease.device, slave: lease.slave, port: lease.port }, type)
  }

  #every(ms: number, look: () => void): void {
    const timer = setInterval(look, ms)
    timer.unref()
    this.#timers.push(timer)
  }
}

function facts({ id, device, slave, port, fingerprint, expiresAt }: Lease): object {
  return { lease: id, device, slave, port, fingerprint, expiresAt: new Date(expiresAt).toISOString() }
}

function unknown(id: string): SshoalError {
  return new SshoalError('UNKNOWN_LEASE', `there is no lease "${id.slice(0, 60)}" here; it may have ended`)
}

function portTaken(port: number): SshoalError {
  return new SshoalError('PORT_TAKEN', `port ${port} is taken; ask for another, or for any`, {
    details: { port },
  })
}

function busy(): SshoalError {
  return new SshoalError('BUSY', 'the lease is being changed by many at once; try again')
}
