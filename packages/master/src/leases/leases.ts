// Leases: a key and a port of one slave for one device, for a limited time. What the rest of the master may ask of them; how
// they are known, issued and ended stands beside this file.
import { fingerprintOf, SshoalError, type LeaseGrant, type Log, type WhoAnswer } from '@sshoal/shared'

import type { ClusterEvent, Events } from '../events/events.ts'
import type { HookQuestion } from '../hook/ask-hook.ts'
import { LeaseBook, type LeaseFilter } from './lease-book.ts'
import { LeaseDesk, type IssuedLease, type LeaseDeskDeps } from './lease-desk.ts'
import { leaseBusy, unknownLease } from './lease-errors.ts'
import { LeaseHands } from './lease-hands.ts'
import { readTimeout, type LeaseRequest } from './lease-request.ts'
import type { LeaseSlave } from './lease-slaves.ts'
import {
  ENDS,
  factsOf,
  grantOf,
  putLease,
  refOf,
  type Lease,
  type LeaseEnd,
  type LeaseState,
} from './lease.ts'

export interface LeasesDeps extends LeaseDeskDeps {
  /** Told to every master. */
  announce: Events['publish']
  /** For this master's listeners alone: the others notice by themselves. */
  publish: Events['publish']
  log: Log
  /** Other masters write to the store too. */
  shared: boolean
  /** The cluster's clock, ms since 1970. */
  now(): number
  /** What happened, for the metrics. */
  count(what: 'issued' | 'extended' | LeaseEnd): void
  /** A request that was not met, and why. */
  countRefused(code: string): void
}

const ATTEMPTS = 40
/** How often it is looked who is due: well within the second in which a lease must end. */
const SWEEP_EVERY_MS = 200
/** What other masters did and this one did not hear of. */
const REFRESH_EVERY_MS = 30_000
/** While the store has not been read yet. */
const FIRST_READ_EVERY_MS = 1_000

export class Leases {
  readonly #deps: LeasesDeps
  readonly #book: LeaseBook
  readonly #hands: LeaseHands
  readonly #desk: LeaseDesk
  readonly #timers: NodeJS.Timeout[] = []

  constructor(deps: LeasesDeps) {
    this.#deps = deps
    this.#book = new LeaseBook(deps)
    this.#hands = new LeaseHands(deps, this.#book)
    this.#desk = new LeaseDesk(deps, this.#book, this.#hands)
  }

  get size(): number {
    return this.#book.size
  }

  /** Leases that are due and not ended yet. */
  get backlog(): number {
    return this.#hands.backlog
  }

  now(): number {
    return this.#deps.now()
  }

  /** Reads the store, ends what ended while nobody looked, and keeps looking. A store that is away is read when it is back. */
  async start(): Promise<void> {
    await this.#book
      .refresh()
      .catch((error: unknown) => this.#deps.log.warn({ err: error }, 'leases cannot be read yet'))
    this.#every(SWEEP_EVERY_MS, () => this.sweep())
    this.#every(FIRST_READ_EVERY_MS, () => this.#book.loaded || this.#read())
    if (this.#deps.shared) this.#every(REFRESH_EVERY_MS, () => this.#read())
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer)
  }

  /** Throws INVALID_TIMEOUT, INVALID_MAC, INVALID_KEY, KEY_TAKEN, UNKNOWN_DEVICE, NO_SLAVE, NO_PORT, PORT_TAKEN, … */
  async request(project: string, request: LeaseRequest): Promise<IssuedLease> {
    try {
      const issued = await this.#desk.issue(project, request)
      this.#deps.count('issued')
      return issued
    } catch (error) {
      this.#deps.countRefused(error instanceof SshoalError ? error.code : 'INTERNAL')
      throw error
    }
  }

  /** Throws UNKNOWN_LEASE. */
  async get(project: string | undefined, id: string): Promise<Lease> {
    const known = await this.#book.find(id)
    if (!known || (project !== undefined && known.project !== project) || known.expiresAt <= this.now())
      throw unknownLease(id)
    return known
  }

  /** Ordered by project and id. Throws INVALID_CURSOR. */
  list(filter: LeaseFilter): Promise<{ leases: Lease[]; next: string | null }> {
    return this.#book.list(filter)
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
      if (!found || found.value.expiresAt <= this.now()) throw unknownLease(id)
      const lease = { ...found.value, expiresAt: this.now() + timeoutMs }
      if (!(await this.#deps.store.transact([putLease(lease, found.version)])).done) continue
      this.#book.keep(lease)
      if ((await this.#hands.tellSlave(lease)) === 'refused') {
        // Its slave ended it a moment before, and the port has gone to somebody else.
        await this.#hands.end(lease, 'failed')
        throw unknownLease(id)
      }
      this.#deps.count('extended')
      this.#hands.announce('lease.extended', lease, { by })
      return lease
    }
    throw leaseBusy()
  }

  /** Resolves with whether a tunnel was cut. Throws UNKNOWN_LEASE. */
  async revoke(project: string | undefined, id: string, by: string): Promise<boolean> {
    const ended = await this.#hands.end(await this.get(project, id), 'revoked', { by })
    if (!ended) throw unknownLease(id)
    return ended.cut
  }

  /** The device is gone, and so is what was leased to it. */
  async revokeOf(project: string, device: string): Promise<void> {
    const found = await this.#book.ofDevice(project, device)
    if (found) await this.#hands.end(found.lease, 'revoked', { by: 'the device was removed' })
  }

  /** The answer about a lease's key; undefined: it is none. Rejects where the store cannot say. */
  async who(question: HookQuestion): Promise<WhoAnswer | undefined> {
    const lease = await this.#book.ofKey(fingerprintOf(Buffer.from(question.publicKey, 'base64')))
    if (!lease) return undefined
    const remainingMs = Math.round(lease.expiresAt - this.now())
    if (remainingMs <= 0) return { outcome: 'refused', ...ENDS.expired }
    if (lease.slave !== question.slave) {
      const slave = this.slaveOf(lease)
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
    try {
      if (!this.#book.complete) await this.#book.refresh()
    } catch {
      return undefined
    }
    const now = this.now()
    return this.#book
      .ofSlave(slave)
      .filter(({ expiresAt }) => expiresAt > now)
      .map((lease) => grantOf(lease, now))
  }

  /** A slave could not open a leased port: the lease waits for its device to be issued another. */
  async portLost(publicKey: string, reason: string): Promise<void> {
    const lease = await this.#book.ofKey(fingerprintOf(Buffer.from(publicKey, 'base64')))
    const found = lease && (await this.#deps.store.get<Lease>(refOf(lease)))
    if (!found || found.value.portLost) return
    const lost = { ...found.value, portLost: true }
    if (!(await this.#deps.store.transact([putLease(lost, found.version)])).done) return
    this.#book.keep(lost)
    this.#hands.announce('lease.port-lost', lost, { reason })
  }

  /** What this master hears: of its own, of the slaves, and of the other masters. */
  onEvent(event: Pick<ClusterEvent, 'type' | 'project' | 'data'>): void {
    const { type, project } = event
    // Of all others, by far the most, what they tell is not even put together.
    if (type !== 'slave.lost' && !type.startsWith('lease.')) return
    const { slave, lease } = event.data as { slave?: string; lease?: string }
    if (type === 'slave.lost' && slave !== undefined)
      for (const stranded of this.#book.ofSlave(slave))
        this.#deps.publish('lease.stranded', factsOf(stranded), { project: stranded.project })
    else if (this.#deps.shared && lease !== undefined && project !== undefined)
      void this.#book.look(project, lease).catch(() => {}) // the next refresh sees it too
  }

  /** Ends what is due. By itself several times a second. */
  sweep(): void {
    this.#hands.sweep()
  }

  #read(): void {
    this.#book.refresh().catch(() => {}) // the next look tries again
  }

  #every(ms: number, look: () => void): void {
    const timer = setInterval(look, ms)
    timer.unref()
    this.#timers.push(timer)
  }
}
