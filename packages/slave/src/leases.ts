// The leases of this slave: a key that opens one port until its time is over. The slave keeps the time by itself, on its
// monotonic clock, so neither a dead master nor a wrong clock makes a lease longer. Ending one is a single step: its key
// is refused, its tunnel is cut, its port is free. Knows no SSH and no master.
import {
  atMost,
  holderKey,
  type DeviceRole,
  type Holder,
  type Identity,
  type LeaseAnswer,
  type LeaseGrant,
  type LeaseQuestion,
  type Log,
} from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

import { LeasePorts } from './lease-ports.ts'
import type { Ports } from './ports.ts'
import type { Refusal } from './refusal.ts'

interface LiveLease extends Omit<LeaseGrant, 'remainingMs'> {
  /** ms on the monotonic clock. */
  endsAt: number
  timer: NodeJS.Timeout
}

export interface LeasesOptions {
  ports: Ports
  /** Whether listen(2) works there: another process may have the port. */
  canListen(port: number): Promise<boolean>
  /** Ends every connection that came in with this lease; says whether there was one. */
  cut(lease: LeaseGrant, refusal: Refusal): boolean
  draining(): boolean
  log: Log
}

/** setTimeout holds at most so many ms. */
const LONGEST_TIMER_MS = 0x7fffffff
/** Keys of leases that ended, so that a device reads why. */
const MAX_ENDED = 20_000
const OVER: Refusal = { code: 'LEASE_EXPIRED', reason: 'the time of this lease is over' }

export class Leases {
  readonly #options: LeasesOptions
  readonly #free: LeasePorts
  readonly #byId = new Map<string, LiveLease>()
  readonly #byFingerprint = new Map<string, LiveLease>()
  readonly #byPort = new Map<number, LiveLease>()
  readonly #ended = new LRUCache<string, { lease: string; refusal: Refusal }>(atMost(MAX_ENDED))

  constructor(options: LeasesOptions) {
    this.#options = options
    this.#free = new LeasePorts(options.ports)
  }

  get size(): number {
    return this.#byId.size
  }

  stands(lease: string): boolean {
    return this.#byId.has(lease)
  }

  /** Who the key is as a lease of this slave. */
  identityOf(fingerprint: string): Identity | undefined {
    const found = this.#byFingerprint.get(fingerprint)
    if (!found) return undefined
    const { project, device, lease, port, endsAt } = found
    const remainingMs = Math.max(0, Math.round(endsAt - performance.now()))
    return { device: { project, device, lease, ports: [port], maxForwards: 1, remainingMs } }
  }

  /** Why the key of a lease that was here counts no more. */
  refusalOf(fingerprint: string): Refusal | undefined {
    return this.#ended.get(fingerprint)?.refusal
  }

  /** A new lease, or another time for one that stands. */
  async grant(question: LeaseQuestion): Promise<LeaseAnswer> {
    const { port: wanted, replaces, ...rest } = question
    const known = this.#byId.get(rest.lease)
    if (known) {
      this.#setTime(known, rest.remainingMs)
      return { outcome: 'granted', port: known.port }
    }
    if (this.#options.draining()) return refused('DRAINING', 'this slave is being drained')
    const owner = holderKey(rest)
    const old = replaces === undefined ? undefined : this.#byId.get(replaces)
    const tries = wanted === undefined ? this.#free.candidates() : [wanted]
    for (const port of tries) {
      if (await this.#take(port, owner, old)) return this.#granted({ ...rest, port })
      if (wanted !== undefined) return this.#notTaken(port)
    }
    if (wanted === undefined && old && (await this.#take(old.port, owner, old)))
      return this.#granted({ ...rest, port: old.port })
    return refused('NO_PORT', 'every port of this slave is taken')
  }

  /** The master answered "who is this?" with a lease of ours that we had missed. False: it ended while the answer came. */
  learn(role: DeviceRole, fingerprint: string): boolean {
    const { project, device, lease, ports: [port] = [], remainingMs = 0 } = role
    if (lease === undefined || port === undefined) return false
    if (this.#ended.get(fingerprint)?.lease === lease) return false
    this.#upsert({ project, device, lease, fingerprint, port, remainingMs })
    return true
  }

  /** What a welcome says: all that stand, and no others. */
  replaceAll(grants: readonly LeaseGrant[]): void {
    const named = new Set(grants.map(({ lease }) => lease))
    for (const lease of this.#byId.values())
      if (!named.has(lease.lease))
        this.end(lease.lease, { code: 'LEASE_REVOKED', reason: 'this lease has ended' })
    for (const grant of grants) this.#upsert(grant)
  }

  /** In this order, in one step. Says whether a connection was cut. */
  end(id: string, refusal: Refusal): boolean {
    const lease = this.#byId.get(id)
    if (!lease) return false
    clearTimeout(lease.timer)
    this.#byId.delete(id)
    if (this.#byFingerprint.get(lease.fingerprint) === lease) this.#byFingerprint.delete(lease.fingerprint)
    if (this.#byPort.get(lease.port) === lease) this.#byPort.delete(lease.port)
    this.#ended.set(lease.fingerprint, { lease: id, refusal })
    const cut = this.#options.cut({ ...lease, remainingMs: 0 }, refusal)
    this.#options.ports.unlease(lease.port, holderKey(lease))
    this.#free.give(lease.port)
    this.#options.log.info({ lease: id, device: lease.device, port: lease.port, ...refusal }, 'lease ended')
    return cut
  }

  close(): void {
    for (const { timer } of this.#byId.values()) clearTimeout(timer)
  }

  /** Takes the port before looking whether it can be opened, so that nobody else gets it meanwhile. */
  async #take(port: number, owner: string, old: LiveLease | undefined): Promise<boolean> {
    const { ports } = this.#options
    // The older lease of the same device ends here and now; if the newer one fails, its master gives it back.
    if (old?.port === port)
      this.end(old.lease, {
        code: 'LEASE_REPLACED',
        reason: 'a newer lease of this device replaces this one',
      })
    if (!ports.lease(port, owner)) return false
    if (await this.#options.canListen(port)) return true
    ports.unlease(port, owner)
    return false
  }

  #notTaken(port: number): LeaseAnswer {
    const { ports } = this.#options
    return ports.contains(port)
      ? refused('PORT_TAKEN', `port ${port} is taken`)
      : refused(
          'PORT_OUT_OF_RANGE',
          `port ${port} is outside ${ports.range.first} to ${ports.range.last}, the ports of this slave`,
        )
  }

  #granted(grant: LeaseGrant): LeaseAnswer {
    this.#free.take(grant.port)
    this.#add(grant)
    return { outcome: 'granted', port: grant.port }
  }

  #upsert(grant: LeaseGrant): void {
    const known = this.#byId.get(grant.lease)
    if (known?.port === grant.port) return this.#setTime(known, grant.remainingMs)
    if (known) this.end(grant.lease, OVER)
    const rival = this.#byPort.get(grant.port)
    if (rival) this.end(rival.lease, { code: 'LEASE_REVOKED', reason: 'this lease has ended' })
    // The master's record is the lock: the port is this lease's from now on, also where somebody still sits on it.
    this.#options.ports.lease(grant.port, holderKey(grant), { force: true })
    this.#free.take(grant.port)
    this.#add(grant)
  }

  #add({ remainingMs, ...grant }: LeaseGrant): void {
    const lease: LiveLease = { ...grant, endsAt: 0, timer: setTimeout(() => {}, 0) }
    this.#byId.set(grant.lease, lease)
    this.#byFingerprint.set(grant.fingerprint, lease)
    this.#byPort.set(grant.port, lease)
    this.#ended.delete(grant.fingerprint)
    this.#setTime(lease, remainingMs)
  }

  #setTime(lease: LiveLease, remainingMs: number): void {
    lease.endsAt = performance.now() + remainingMs
    this.#arm(lease)
  }

  #arm(lease: LiveLease): void {
    clearTimeout(lease.timer)
    const leftMs = lease.endsAt - performance.now()
    lease.timer = setTimeout(
      // The lease itself is compared, not its device: an old timer never touches a newer one.
      () => (lease.endsAt > performance.now() ? this.#arm(lease) : this.end(lease.lease, OVER)),
      Math.min(Math.max(0, Math.ceil(leftMs)), LONGEST_TIMER_MS),
    )
  }
}

/** What a lease may not ask for, as its device reads it. */
export function leaseRefusal(
  role: DeviceRole & Holder,
  request: { bindPort: number },
  bound: boolean,
): Refusal | undefined {
  const [port] = role.ports ?? []
  if (role.lease === undefined || (bound && (request.bindPort === 0 || request.bindPort === port)))
    return undefined
  return {
    code: 'LEASE_PORT_ONLY',
    reason: `this key is leased for port ${port} alone; open it with -R ${port}:localhost:22 or -R 0:localhost:22`,
  }
}

function refused(code: string, reason: string): LeaseAnswer {
  return { outcome: 'refused', code, reason }
}
