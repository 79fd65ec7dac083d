// The live view: every slave that is linked or in its grace, every tunnel, at most one per holder. Fed by slave-link.ts.
// A change counts only if its link is the slave's current one and its epoch is not older than what stands.
import {
  holderKey,
  CLOSE,
  REQUEST_DEADLINE_MS,
  type AdmitAnswer,
  type AdmitQuestion,
  type FixedPort,
  type Forward,
  type Holder,
  type LeaseGrant,
  type Log,
  type SlaveStatus,
  type Tunnel,
  type WhoAnswer,
  SshoalError,
} from '@sshoal/shared'

import type { Store } from '../store/store.ts'
import type {
  Cluster,
  ClusterView,
  MasterView,
  Slot,
  SlotRequest,
  TunnelFilter,
  TunnelPage,
  TunnelView,
} from './cluster.ts'
import { Contests } from './contests.ts'
import type {
  Answer,
  ClusterFeed,
  FeedChange,
  FeedListener,
  FeedSnapshot,
  Question,
  SlaveChange,
  SlaveFacts,
  SlaveRequest,
} from './feed/cluster-feed.ts'
import type { GateDesk } from './gate-desk.ts'
import { Invalidations } from './invalidations.ts'
import { LiveTunnel } from './live-tunnel.ts'
import { SLOT_MS } from './reservations.ts'
import { eligibleSlaves, leastBusy, type RegionFallback } from './select-slave.ts'
import { SlaveRecord } from './slave-record.ts'
import { TunnelTable } from './tunnel-table.ts'

const BUCKETS = 4_096
const LOST = 'the slave was lost'
/** A probe takes the slave up to 3 s. */
const PROBE_DEADLINE_MS = 4_500
/** How long the slaves of a master that fell silent stay in the view: others may say them again. */
const MISSING_GRACE_MS = 10_000

export interface Sighting {
  at: number
  where: string
  why: string
}

export interface Refused {
  code: string
  reason: string
  remoteAddress: string
  username?: string | undefined
  publicKey?: string | undefined
  project?: string | undefined
  device?: string | undefined
}

export interface LiveClusterDeps {
  master: { id: string; version: string }
  slaveGraceMs: number
  regionFallback: RegionFallback
  publish(type: string, data: object, scope?: { project?: string; source?: string; reason?: string }): void
  saw(holder: Holder, sighting: Sighting): void
  /** `elsewhere`: another master heard it, and wrote it down. */
  refused(refusal: Refused, elsewhere?: boolean): void
  /** As `publish`, to other masters too: what they cannot see in the live view. */
  announce(type: string, data: object, scope?: { project?: string; source?: string; reason?: string }): void
  /** Another master revoked a token. */
  revoked(token: string): void
  ask(question: {
    publicKey: string
    username: string
    remoteAddress: string
    slave: string
    slaveRegion?: string
  }): Promise<WhoAnswer>
  /** Which fixed ports a slave of this region must keep for whom. */
  fixedPorts(region: string | undefined): Promise<FixedPort[]>
  /** The leases of a slave; undefined: they cannot be read now, it shall keep those it has. */
  leases?(slave: string): Promise<LeaseGrant[] | undefined>
  /** Missing: no user gets through. */
  gate?: GateDesk
  store: Pick<Store, 'id' | 'state' | 'nextInvalidation' | 'lastInvalidation'>
  feed: ClusterFeed
  /** The number that the store gave last. */
  lastInvalidation: number
  log: Log
}

export class LiveCluster implements Cluster, FeedListener {
  readonly deps: LiveClusterDeps
  readonly #slaves = new Map<string, SlaveRecord>()
  /** The same as a list, which a choice may go through more than once. */
  #candidates: readonly SlaveRecord[] = []
  /** Slaves that were let in for the first time and whose snapshot is still being read. */
  readonly #joining = new Map<string, SlaveRecord>()
  readonly #tunnels = new TunnelTable(BUCKETS)
  readonly #perProject = new Map<string, number>()
  readonly #contests = new Contests()
  readonly #graces = new Map<string, NodeJS.Timeout>()
  readonly #startedAt = performance.now()
  #lastEpoch = 0
  #lastSince = 0
  readonly #turns: Invalidations
  /** The store whose numbers they are. */
  #numberedBy: string
  #invalidating: Promise<unknown> = Promise.resolve()
  #closed = false
  readonly counters = { slots: 0, noSlave: 0, ups: 0, downs: 0, moves: 0, dropped: 0 }

  constructor(deps: LiveClusterDeps) {
    this.deps = deps
    this.#numberedBy = deps.store.id
    this.#turns = new Invalidations(deps.lastInvalidation, (number, fingerprints) =>
      this.#invalidateLinked(number, fingerprints),
    )
  }

  // ---- what the rest of the master asks (cluster.ts)

  slot(request: SlotRequest): Slot | undefined | Promise<Slot | undefined> {
    const { feed } = this.deps
    const now = performance.now()
    for (const slave of this.#candidates) slave.reservations.count(now)
    const eligible = eligibleSlaves(this.#candidates, request, this.deps.regionFallback)
    const reserved =
      eligible.length === 0
        ? undefined
        : feed.reserve(`${request.region ?? ''} ${request.port ?? ''}`, eligible)
    if (!reserved) return this.#given(leastBusy(eligible), request)
    return reserved.then((id) => {
      // It may have gone while Redis chose it.
      const chosen = id === undefined ? undefined : this.#slaves.get(id)
      return this.#given(chosen ?? leastBusy(eligible), request)
    })
  }

  #given(slave: SlaveRecord | undefined, request: SlotRequest): Slot | undefined {
    if (!slave) {
      this.counters.noSlave++
      return undefined
    }
    this.counters.slots++
    slave.reservations.hold(performance.now())
    return {
      slave: slave.id,
      host: slave.reachableHost,
      port: request.port ?? slave.hello.publicPort,
      hostKeys: slave.hello.hostKeys,
      expiresInMs: SLOT_MS,
    }
  }

  view(): ClusterView {
    const slaves = this.#candidates.map((slave) => slave.view())
    const reserved = slaves.reduce((sum, slave) => sum + slave.reserved, 0)
    return {
      masters: [this.#master(), ...this.deps.feed.others()].sort((a, b) => (a.id < b.id ? -1 : 1)),
      slaves,
      totals: { slaves: slaves.length, tunnels: this.#tunnels.size, reserved },
    }
  }

  tunnels({ project, device, slave, region, cursor, limit }: TunnelFilter): TunnelPage {
    const fits = (tunnel: LiveTunnel): boolean =>
      (project === undefined || tunnel.project === project) &&
      (device === undefined || tunnel.device === device) &&
      (slave === undefined || tunnel.slave.id === slave) &&
      (region === undefined || tunnel.slave.region === region)
    if (device !== undefined) {
      const projects = project === undefined ? [...this.#perProject.keys()] : [project]
      const found = projects.flatMap((name) => this.#tunnels.ofDevice(name, device)).filter(fits)
      return { tunnels: found.slice(0, limit).map((tunnel) => tunnel.view()), next: null }
    }
    if (slave !== undefined && !this.#slaves.has(slave)) return { tunnels: [], next: null }
    const table = slave === undefined ? this.#tunnels : (this.#slaves.get(slave)?.table ?? this.#tunnels)
    const page = table.page(cursor, limit, fits)
    return { tunnels: page.tunnels.map((tunnel) => tunnel.view()), next: page.next }
  }

  tunnelOf(holder: Holder): TunnelView | undefined {
    return this.#tunnels.get(holderKey(holder))?.view()
  }

  count(project: string): number {
    return this.#perProject.get(project) ?? 0
  }

  get size(): { slaves: number; tunnels: number } {
    return { slaves: this.#slaves.size, tunnels: this.#tunnels.size }
  }

  slaves(): IterableIterator<SlaveRecord> {
    return this.#slaves.values()
  }

  async kick(holder: Holder, reason: string): Promise<boolean> {
    const tunnel = this.#tunnels.get(holderKey(holder))
    if (!tunnel) return false
    const question = { ...wireHolder(holder), epoch: tunnel.epoch, reason }
    return (await this.#ask(tunnel.slave, 'cut', question, REQUEST_DEADLINE_MS)).cut
  }

  async invalidate(fingerprints: string[] | null): Promise<number> {
    const numbered = this.#invalidating.then(async () => {
      const number = await this.deps.store.nextInvalidation()
      this.deps.feed.publish({ type: 'invalidate', number, fingerprints })
      return number
    })
    this.#invalidating = numbered.catch(() => undefined)
    return this.#take(await numbered, fingerprints)
  }

  #take(number: number, fingerprints: string[] | null): Promise<number> {
    // Another store counts by itself, and may be behind the one before.
    const { id } = this.deps.store
    if (id !== this.#numberedBy) this.#turns.restart(number - 1)
    this.#numberedBy = id
    return this.#turns.take(number, fingerprints)
  }

  async #invalidateLinked(number: number, fingerprints: string[] | null): Promise<number> {
    const cuts = await Promise.all(
      this.#linked().map((slave) => this.#invalidateOn(slave, number, fingerprints)),
    )
    return cuts.reduce((sum, cut) => sum + cut, 0)
  }

  async #invalidateOn(slave: SlaveRecord, number: number, fingerprints: string[] | null): Promise<number> {
    try {
      return (await slave.wire?.request('invalidate', { number, fingerprints }))?.cut ?? 0
    } catch (error) {
      this.deps.log.warn({ slave: slave.id, err: error }, 'a slave did not confirm an invalidation')
      return 0
    }
  }

  async drain(id: string, overMs: number): Promise<{ tunnels: number }> {
    const slave = this.#slaves.get(id)
    if (!slave?.wire && slave?.master === undefined)
      throw new SshoalError('UNKNOWN_SLAVE', `no slave "${id}" is linked; GET /cluster lists those that are`)
    return this.#ask(slave, 'drain', { overMs }, REQUEST_DEADLINE_MS)
  }

  fixedPortsChanged(): void {
    this.deps.feed.publish({ type: 'fixedPorts' })
    this.#sendFixedPorts()
  }

  #sendFixedPorts(): void {
    for (const slave of this.#linked()) {
      this.deps.fixedPorts(slave.region).then(
        (fixedPorts) => slave.wire?.send('fixedPorts', { fixedPorts }),
        (error: unknown) => this.deps.log.error({ err: error }, 'fixed ports could not be read'),
      )
    }
  }

  /** A request to a slave, wherever it is linked. Rejects with LINK_LOST or LINK_DEADLINE. */
  askSlave<T extends SlaveRequest>(
    id: string,
    type: T,
    question: Question<T>,
    deadlineMs: number,
  ): Promise<Answer<T>> {
    const slave = this.#slaves.get(id)
    if (!slave)
      return Promise.reject(new SshoalError('LINK_LOST', `${type}: the slave ${id} is not in the cluster`))
    return this.#ask(slave, type, question, deadlineMs)
  }

  // ---- what a slave's link tells (slave-link.ts)

  /** Undefined: the store cannot be believed now, and nothing is said about what was removed. */
  get invalidation(): { store: string; number: number } | undefined {
    const { id, state } = this.deps.store
    return state === 'changed' ? undefined : { store: id, number: this.#turns.last }
  }

  /** The slave of this id: linked, in its grace, or still handing in its snapshot. */
  slave(id: string): SlaveRecord | undefined {
    return this.#slaves.get(id) ?? this.#joining.get(id)
  }

  /** When a link was challenged, µs of the cluster's clock: later than every link that was heard of until then. */
  nextSince(): number {
    this.#lastSince = Math.max(this.#lastSince + 1, this.deps.feed.nowMicros())
    return this.#lastSince
  }

  /** A link was proven: its tunnels enter the view from now on, and leave it with the link. */
  joining(slave: SlaveRecord, since = this.nextSince()): void {
    if (this.#slaves.get(slave.id) !== slave) this.#joining.set(slave.id, slave)
    slave.since = since
    this.deps.feed.publish({ type: 'joining', slave: slave.id, link: slave.link, facts: slave.facts() })
  }

  /** A link was proven and its snapshot read: `slave` speaks for its id from now on. */
  joined(slave: SlaveRecord): void {
    if (slave.wire) {
      this.deps.feed.publish({ type: 'synced', slave: slave.id, link: slave.link })
      this.deps.feed.publish({ type: 'state', slave: slave.id, link: slave.link, facts: slave.facts() })
    }
    clearTimeout(this.#graces.get(slave.id))
    this.#graces.delete(slave.id)
    const isNew = !this.#slaves.has(slave.id)
    this.#joining.delete(slave.id)
    this.#slaves.set(slave.id, slave)
    this.#candidates = byId(this.#slaves)
    const { id, region, tunnels } = slave
    this.deps.publish(isNew ? 'slave.ready' : 'slave.synced', {
      slave: id,
      region: region ?? null,
      tunnels,
      link: slave.link,
    })
    this.deps.log.info({ slave: id, region, tunnels, returned: !isNew }, 'slave joined')
  }

  /** The link broke. A `bye` leaves at once, anything else gets the grace. */
  left(slave: SlaveRecord, link: string, bye: string | undefined): void {
    if (slave.link !== link || this.#closed) return
    slave.lose()
    const gone = bye !== undefined || this.#joining.get(slave.id) === slave
    if (!gone) this.deps.feed.publish({ type: 'state', slave: slave.id, link, facts: slave.facts() })
    else
      this.deps.feed.publish({
        type: 'gone',
        slave: slave.id,
        link,
        reason: bye ?? 'left before it had joined',
      })
    if (this.#joining.get(slave.id) === slave) {
      this.#joining.delete(slave.id)
      for (const tunnel of slave.table.values()) this.#remove(tunnel, 'its slave left before it had joined')
      return
    }
    if (this.#slaves.get(slave.id) !== slave) return
    if (bye !== undefined) return this.#drop(slave, bye)
    this.deps.publish('slave.stale', { slave: slave.id, tunnels: slave.tunnels })
    this.deps.log.warn({ slave: slave.id, graceMs: this.deps.slaveGraceMs }, 'slave stale')
    clearTimeout(this.#graces.get(slave.id))
    this.#graces.set(
      slave.id,
      setTimeout(() => {
        this.deps.feed.publish({ type: 'gone', slave: slave.id, link, reason: LOST })
        this.#drop(slave, LOST)
      }, this.deps.slaveGraceMs),
    )
  }

  drainingChanged(slave: SlaveRecord, draining: boolean): void {
    slave.draining = draining
    if (slave.wire)
      this.deps.feed.publish({ type: 'state', slave: slave.id, link: slave.link, facts: slave.facts() })
    this.deps.publish(draining ? 'slave.draining' : 'slave.ready', {
      slave: slave.id,
      tunnels: slave.tunnels,
    })
  }

  statusChanged(slave: SlaveRecord, status: SlaveStatus): void {
    slave.status = status
    if (slave.wire) this.deps.feed.publish({ type: 'status', slave: slave.id, link: slave.link, status })
  }

  /** Undefined: it stands. Else it lost to a newer tunnel, whose place is told. */
  up(slave: SlaveRecord, wire: Tunnel, options: { announced: boolean }): { reason: string } | undefined {
    const key = holderKey(wire)
    const current = this.#tunnels.get(key)
    if (current && isNewer(current, wire.epoch, slave.id)) {
      this.counters.dropped++
      return { reason: `a newer tunnel of ${wire.device} is up on slave ${current.slave.id}` }
    }
    if (slave.wire) {
      const arrived = !options.announced
      this.deps.feed.publish({ type: 'up', slave: slave.id, link: slave.link, tunnel: wire, arrived })
    }
    if (current && current.slave === slave && current.epoch === wire.epoch) {
      current.forwards = wire.forwards
      return undefined
    }
    this.#lastEpoch = Math.max(this.#lastEpoch, wire.epoch)
    if (!options.announced) slave.reservations.use(performance.now())
    const tunnel = new LiveTunnel(wire, slave)
    if (current) this.#replace(current, tunnel)
    else this.#perProject.set(wire.project, this.count(wire.project) + 1)
    // The tunnel's own key, so that a million of them stand in memory once.
    this.#tunnels.set(tunnel.key, tunnel)
    slave.table.set(tunnel.key, tunnel)
    this.counters.ups++
    const type = current && current.slave !== slave ? 'tunnel.moved' : 'tunnel.up'
    this.#tell(type, tunnel, current && current.slave !== slave ? { from: current.slave.id } : {})
    this.#saw(tunnel, options.announced ? 'announced' : 'connected')
    return undefined
  }

  changed(slave: SlaveRecord, holder: Holder, epoch: number, forwards: Forward[]): void {
    const tunnel = this.#tunnels.get(holderKey(holder))
    if (tunnel?.slave !== slave || tunnel.epoch !== epoch) return void this.counters.dropped++
    tunnel.forwards = forwards
    if (slave.wire)
      this.deps.feed.publish({ type: 'changed', slave: slave.id, link: slave.link, tunnel: tunnel.wire() })
    this.#tell('tunnel.changed', tunnel, {})
  }

  down(slave: SlaveRecord, holder: Holder, epoch: number, reason: string): void {
    const tunnel = this.#tunnels.get(holderKey(holder))
    // Told also when a newer one stands in its place here: the feed keeps each slave's tunnels until it hears of their end.
    this.#tellDown(slave, holder, epoch, reason)
    if (tunnel?.slave !== slave || tunnel.epoch !== epoch) return void this.counters.dropped++
    this.#remove(tunnel, reason)
  }

  /** A snapshot is complete: what the slave did not name, by holder and epoch, is gone. */
  keepOnly(slave: SlaveRecord, named: ReadonlyMap<string, number>): void {
    const reason = 'gone when its slave came back'
    for (const tunnel of slave.table.values()) {
      if (named.get(tunnel.key) === tunnel.epoch) continue
      // Where Redis came back in the middle, others were told of it again.
      this.#tellDown(slave, tunnel, tunnel.epoch, reason)
      this.#remove(tunnel, reason)
    }
  }

  #tellDown(slave: SlaveRecord, holder: LiveTunnel | Holder, epoch: number, reason: string): void {
    if (!slave.wire) return
    const { id, link } = slave
    this.deps.feed.publish({ type: 'down', slave: id, link, holder: wireHolder(holder), epoch, reason })
  }

  async admit(slave: SlaveRecord, question: AdmitQuestion): Promise<AdmitAnswer> {
    const key = holderKey(question)
    const incumbent = this.#tunnels.get(key)
    if (incumbent && this.#contests.disputed(key) && (await this.#alive(incumbent))) {
      const addresses = [incumbent.remoteAddress, question.remoteAddress]
      this.#cloned(question, addresses, incumbent, slave)
      return {
        outcome: 'refused',
        code: 'DEVICE_CLONED',
        reason: `${question.device} is connected from ${incumbent.remoteAddress} and answers there; two machines seem to share one key`,
      }
    }
    const last = Math.max(this.#tunnels.get(key)?.epoch ?? 0, question.incumbent)
    // Over all holders, so that two newcomers of one holder at once get two epochs.
    this.#lastEpoch = Math.max(last + 1, this.#lastEpoch + 1, this.deps.feed.nowMicros())
    return { outcome: 'admitted', epoch: this.#lastEpoch }
  }

  contested(slave: SlaveRecord, holder: Holder, remoteAddress: string, incumbentAddress: string): void {
    this.#contests.note(holderKey(holder))
    this.deps.feed.publish({ type: 'contested', holder: wireHolder(holder) })
    this.deps.log.info(
      { slave: slave.id, device: holder.device, remoteAddress, incumbentAddress },
      'contested take-over',
    )
  }

  /** Reads what the other masters hold. */
  async start(): Promise<void> {
    await this.deps.feed.start(this)
  }

  // ---- what other masters tell (feed/)

  onChange(change: FeedChange, master: string): void {
    switch (change.type) {
      case 'slots':
        for (const id of change.slaves) this.#slaves.get(id)?.reservations.hold(performance.now())
        return
      case 'invalidate':
        // Each master tells its own slaves; the one that was asked does not wait for the others.
        return void this.#take(change.number, change.fingerprints)
      case 'fixedPorts':
        return this.#sendFixedPorts()
      case 'contested':
        return this.#contests.note(holderKey(change.holder))
      case 'event':
        return this.deps.publish(change.event.type, change.event.data, change.event.scope)
      case 'refused':
        return this.deps.refused(change.refusal, true)
      case 'revoked':
        return this.deps.revoked(change.token)
      case 'joining':
        return void this.#follow(change.slave, change.link, master, change.facts)
      default:
        return this.#onSlaveChange(change)
    }
  }

  #onSlaveChange(change: Exclude<SlaveChange, { type: 'joining' }>): void {
    const slave = this.slave(change.slave)
    if (!slave || slave.master === undefined || slave.link !== change.link)
      return void this.counters.dropped++
    switch (change.type) {
      case 'up':
        slave.named?.set(holderKey(change.tunnel), change.tunnel.epoch)
        this.up(slave, change.tunnel, { announced: !change.arrived })
        return
      case 'synced':
        if (slave.named) this.keepOnly(slave, slave.named)
        slave.named = undefined
        return this.joined(slave)
      case 'changed':
        return this.changed(slave, change.tunnel, change.tunnel.epoch, change.tunnel.forwards)
      case 'down':
        return this.down(slave, change.holder, change.epoch, change.reason)
      case 'status':
        slave.status = change.status
        return
      case 'state':
        return this.#onState(slave, change.facts.state)
      case 'gone':
        return this.#forget(slave, change.reason)
    }
  }

  /** Another master's, linked or still joining. */
  #forget(slave: SlaveRecord, reason: string): void {
    if (this.#joining.get(slave.id) !== slave) return this.#drop(slave, reason)
    this.#joining.delete(slave.id)
    for (const tunnel of slave.table.values()) this.#remove(tunnel, reason)
  }

  #onState(slave: SlaveRecord, state: SlaveFacts['state']): void {
    const before = slave.state
    slave.setState(state)
    if (state !== before && this.#slaves.get(slave.id) === slave)
      this.deps.publish(`slave.${state}`, { slave: slave.id, tunnels: slave.tunnels })
  }

  /** The slave is linked to another master. False: what we know is newer, and the other will hear of it. */
  #follow(id: string, link: string, master: string, facts: SlaveFacts): boolean {
    const known = this.slave(id)
    if (known && facts.since < known.since) return false
    this.#lastSince = Math.max(this.#lastSince, facts.since)
    clearTimeout(this.#graces.get(id))
    this.#graces.delete(id)
    known?.wire?.close(CLOSE.REPLACED, 'a newer link of this slave took over, at another master')
    const slave = known ?? new SlaveRecord(facts.hello, link, undefined, facts.seenAddress)
    slave.follow(master, link, facts)
    slave.named = new Map()
    if (!known) this.#joining.set(id, slave)
    return true
  }

  onSnapshot({ slaves }: FeedSnapshot): void {
    void this.#catchUp()
    const seen = new Set<string>()
    for (const { slave: id, link, master, facts, status, tunnels, synced } of slaves) {
      seen.add(id)
      // Ours is as new as the feed's, or the feed will hear of it.
      if (this.slave(id)?.link === link && this.slave(id)?.wire) continue
      if (!this.#follow(id, link, master, facts)) continue
      for (const tunnel of tunnels)
        this.#onSlaveChange({ type: 'up', slave: id, link, tunnel, arrived: false })
      if (synced) this.#onSlaveChange({ type: 'synced', slave: id, link })
      this.#onSlaveChange({ type: 'status', slave: id, link, status })
    }
    for (const slave of this.#joining.values())
      if (slave.master !== undefined && !seen.has(slave.id)) this.#forget(slave, LOST)
    for (const slave of this.#slaves.values()) {
      if (slave.master === undefined || seen.has(slave.id) || this.#graces.has(slave.id)) continue
      this.#graces.set(
        slave.id,
        setTimeout(() => this.#drop(slave, LOST), MISSING_GRACE_MS),
      )
    }
  }

  /** Invalidations that were numbered while we did not listen. */
  async #catchUp(): Promise<void> {
    try {
      const number = await this.deps.store.lastInvalidation()
      if (number > this.#turns.last) await this.#take(number, null)
    } catch (error) {
      this.deps.log.debug({ err: error }, 'the last invalidation cannot be read now')
    }
  }

  *holdings(only?: ReadonlySet<string>): Iterable<FeedChange> {
    for (const slave of this.#linked()) {
      const { id, link } = slave
      if (only && !only.has(id)) continue
      // It is read bit by bit; where the link has ended meanwhile, that was told by itself.
      const stands = (): boolean => slave.wire !== undefined && slave.link === link
      if (!stands()) continue
      yield { type: 'joining', slave: id, link, facts: slave.facts() }
      for (const tunnel of slave.table.values()) {
        if (!stands()) break
        yield { type: 'up', slave: id, link, tunnel: tunnel.wire(), arrived: false }
      }
      if (!stands()) continue
      yield { type: 'synced', slave: id, link }
      yield { type: 'status', slave: id, link, status: slave.status }
    }
  }

  onSilent(slaves: ReadonlySet<string>): void {
    for (const slave of this.#slaves.values()) {
      const before = slave.state
      slave.silent = slave.master !== undefined && slaves.has(slave.id)
      if (slave.state !== before)
        this.deps.publish(`slave.${slave.state}`, { slave: slave.id, tunnels: slave.tunnels })
    }
  }

  async onRequest(id: string, type: SlaveRequest, question: unknown): Promise<unknown> {
    const { wire } = this.#slaves.get(id) ?? {}
    if (!wire) throw new SshoalError('LINK_LOST', `${type}: the slave ${id} is not linked here`)
    return wire.request(type, question as never, PROBE_DEADLINE_MS)
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#graces.values()) clearTimeout(timer)
    this.#turns.close()
  }

  // ---- inside

  #master(): MasterView {
    return { ...this.deps.master, uptimeSeconds: Math.round((performance.now() - this.#startedAt) / 1_000) }
  }

  #linked(): SlaveRecord[] {
    return [...this.#slaves.values()].filter((slave) => slave.wire !== undefined)
  }

  /** Over our own link, or over the master that has it. */
  #ask<T extends SlaveRequest>(
    slave: SlaveRecord,
    type: T,
    question: Question<T>,
    deadlineMs: number,
  ): Promise<Answer<T>> {
    if (slave.wire) return slave.wire.request(type, question, deadlineMs)
    if (slave.master !== undefined)
      return this.deps.feed.request(slave.master, slave.id, type, question, deadlineMs)
    return Promise.reject(new SshoalError('LINK_LOST', `${type}: the slave ${slave.id} is not linked`))
  }

  async #alive(tunnel: LiveTunnel): Promise<boolean> {
    const holder = wireHolder(tunnel)
    try {
      return (await this.#ask(tunnel.slave, 'probe', holder, PROBE_DEADLINE_MS)).alive
    } catch {
      return false
    }
  }

  #cloned(holder: Holder, addresses: string[], incumbent: LiveTunnel, slave: SlaveRecord): void {
    const data = { device: holder.device, addresses, slaves: [incumbent.slave.id, slave.id] }
    this.deps.announce('device.cloned', data, {
      project: holder.project,
      source: holder.device,
      reason: 'DEVICE_CLONED',
    })
  }

  /** The older tunnel leaves the view in the step in which the newer one enters it; its slave is told to let go. */
  #replace(older: LiveTunnel, newer: LiveTunnel): void {
    this.counters.moves++
    older.slave.table.delete(older.key, older)
    if (older.slave === newer.slave) return
    // Whoever has the older one's slave on its own link tells it; every master comes by here.
    const reason = `a newer connection of ${older.device} from ${newer.remoteAddress} took over`
    older.slave.wire
      ?.request('yield', { ...wireHolder(older), epoch: newer.epoch, reason }, PROBE_DEADLINE_MS)
      .then(
        ({ contested }) => {
          if (contested) this.contested(newer.slave, newer, newer.remoteAddress, older.remoteAddress)
        },
        (error: unknown) =>
          this.deps.log.warn({ slave: older.slave.id, err: error }, 'a slave did not confirm that it let go'),
      )
  }

  #remove(tunnel: LiveTunnel, reason: string): void {
    tunnel.slave.table.delete(tunnel.key, tunnel)
    if (!this.#tunnels.delete(tunnel.key, tunnel)) return
    const left = this.count(tunnel.project) - 1
    if (left > 0) this.#perProject.set(tunnel.project, left)
    else this.#perProject.delete(tunnel.project)
    this.counters.downs++
    this.#tell('tunnel.down', tunnel, { reason })
    this.#saw(tunnel, reason)
  }

  #drop(slave: SlaveRecord, reason: string): void {
    this.#graces.delete(slave.id)
    if (this.#slaves.get(slave.id) !== slave || slave.wire) return
    const { tunnels } = slave
    this.#slaves.delete(slave.id)
    this.#candidates = byId(this.#slaves)
    for (const tunnel of slave.table.values()) this.#remove(tunnel, reason)
    this.deps.publish('slave.lost', { slave: slave.id, tunnels, reason })
    this.deps.log.warn({ slave: slave.id, tunnels, reason }, 'slave lost')
  }

  #tell(type: string, tunnel: LiveTunnel, more: object): void {
    const { device, lease, slave, remoteAddress, fingerprint, epoch } = tunnel
    const ports = tunnel.forwards.map(({ kind, bindAddress, bindPort, port }) => ({
      kind,
      bindAddress,
      bindPort,
      port,
    }))
    const data = {
      device,
      ...(lease === undefined ? {} : { lease }),
      slave: slave.id,
      remoteAddress,
      fingerprint,
      epoch,
      forwards: ports,
      ...more,
    }
    this.deps.publish(type, data, { project: tunnel.project })
  }

  #saw(tunnel: LiveTunnel, why: string): void {
    // Its own master writes it down.
    if (tunnel.slave.master !== undefined) return
    this.deps.saw(tunnel, { at: Date.now(), where: `${tunnel.remoteAddress} on ${tunnel.slave.id}`, why })
  }
}

function byId(slaves: ReadonlyMap<string, SlaveRecord>): SlaveRecord[] {
  return [...slaves.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** Ties go to the greater slave id (design: "Epoch"). */
function isNewer(current: LiveTunnel, epoch: number, slave: string): boolean {
  return current.epoch > epoch || (current.epoch === epoch && current.slave.id > slave)
}

function wireHolder({
  project,
  device,
  lease,
}: Pick<LiveTunnel, 'project' | 'device' | 'lease'> | Holder): Holder {
  return { project, device, ...(lease === undefined ? {} : { lease }) }
}
