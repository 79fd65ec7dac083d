// The live cluster: what the rest of the master asks (cluster.ts), answered from memory. Puts its parts together: the
// roster of slaves, their tunnels, admission, invalidations, and what other masters tell. slave-link.ts feeds them.
import { holderKey, REQUEST_DEADLINE_MS, SshoalError, type Holder } from '@sshoal/shared'

import { Admission } from './admission.ts'
import { askSlave } from './ask-slave.ts'
import type { LiveClusterDeps } from './cluster-deps.ts'
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
import type { Answer, Question, SlaveRequest } from './feed/cluster-feed.ts'
import { Invalidator } from './invalidator.ts'
import { LiveTunnels, wireHolder } from './live-tunnels.ts'
import { OtherMasters } from './other-masters.ts'
import { SLOT_MS } from './reservations.ts'
import { Roster } from './roster.ts'
import type { SlaveRecord } from './slave-record.ts'

export class LiveCluster implements Cluster {
  readonly deps: LiveClusterDeps
  readonly roster: Roster
  readonly live: LiveTunnels
  readonly admission: Admission
  readonly invalidator: Invalidator
  readonly #others: OtherMasters
  readonly #startedAt = performance.now()
  readonly #slots = { slots: 0, noSlave: 0 }
  #countedAt = -Infinity

  constructor(deps: LiveClusterDeps) {
    const { publish, saw, feed } = deps
    this.deps = deps
    this.live = new LiveTunnels({
      publish,
      saw,
      feed,
      moved: (older, newer) => this.admission.letGo(older, newer),
    })
    this.roster = new Roster(deps, this.live)
    this.admission = new Admission(deps, this.live)
    this.invalidator = new Invalidator(deps, this.roster)
    this.#others = new OtherMasters({
      publish,
      refused: deps.refused,
      revoked: deps.revoked,
      roster: this.roster,
      tunnels: this.live,
      admission: this.admission,
      invalidator: this.invalidator,
      fixedPortsChanged: () => this.#sendFixedPorts(),
    })
  }

  /** Reads what the other masters hold. */
  async start(): Promise<void> {
    await this.deps.feed.start(this.#others)
    this.invalidator.watch()
  }

  slot(request: SlotRequest): Slot | undefined | Promise<Slot | undefined> {
    const { leastBusy } = this.roster
    this.#countReservations()
    const here = leastBusy.choose(request)
    if (!here) return this.#given(undefined, request)
    const wish = `${request.region ?? ''} ${request.port ?? ''}`
    const reserved = this.deps.feed.reserve(wish, (count) => leastBusy.first(request, count))
    if (!reserved) return this.#given(here, request)
    return reserved.then((id) => {
      // It may have gone while Redis chose it.
      const chosen = id === undefined ? undefined : this.roster.joinedSlave(id)
      return this.#given(chosen ?? leastBusy.choose(request), request)
    })
  }

  /** Lets go of those that are over: once a millisecond, for however many slots are asked for in it. */
  #countReservations(): void {
    const now = performance.now()
    if (now - this.#countedAt < 1) return
    this.#countedAt = now
    for (const slave of this.roster.joinedSlaves) slave.reservations.count(now)
  }

  #given(slave: SlaveRecord | undefined, request: SlotRequest): Slot | undefined {
    if (!slave) {
      this.#slots.noSlave++
      return undefined
    }
    this.#slots.slots++
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
    const slaves = this.roster.joinedSlaves.map((slave) => slave.view())
    const reserved = slaves.reduce((sum, slave) => sum + slave.reserved, 0)
    return {
      masters: [this.#master(), ...this.deps.feed.others()].sort((a, b) => (a.id < b.id ? -1 : 1)),
      slaves,
      totals: { slaves: slaves.length, tunnels: this.live.size, reserved },
    }
  }

  #master(): MasterView {
    return { ...this.deps.master, uptimeSeconds: Math.round((performance.now() - this.#startedAt) / 1_000) }
  }

  tunnels(filter: TunnelFilter): TunnelPage {
    const only = filter.slave === undefined ? undefined : this.roster.joinedSlave(filter.slave)
    return this.live.page(filter, only)
  }

  tunnelOf(holder: Holder): TunnelView | undefined {
    return this.live.get(holderKey(holder))?.view()
  }

  count(project: string): number {
    return this.live.count(project)
  }

  get size(): { slaves: number; tunnels: number } {
    return { slaves: this.roster.size, tunnels: this.live.size }
  }

  get counters(): { slots: number; noSlave: number } & LiveTunnels['counters'] {
    return { ...this.#slots, ...this.live.counters }
  }

  slaves(): IterableIterator<SlaveRecord> {
    return this.roster.slaves()
  }

  async kick(holder: Holder, reason: string): Promise<boolean> {
    const tunnel = this.live.get(holderKey(holder))
    if (!tunnel) return false
    const question = { ...wireHolder(holder), epoch: tunnel.epoch, reason }
    return (await askSlave(tunnel.slave, this.deps.feed, 'cut', question, REQUEST_DEADLINE_MS)).cut
  }

  invalidate(fingerprints: string[] | null, number?: number): Promise<number> {
    return this.invalidator.invalidate(fingerprints, number)
  }

  async drain(id: string, overMs: number): Promise<{ tunnels: number }> {
    const slave = this.roster.joinedSlave(id)
    if (!slave?.wire && slave?.master === undefined)
      throw new SshoalError('UNKNOWN_SLAVE', `no slave "${id}" is linked; GET /cluster lists those that are`)
    return askSlave(slave, this.deps.feed, 'drain', { overMs }, REQUEST_DEADLINE_MS)
  }

  fixedPortsChanged(): void {
    this.deps.feed.publish({ type: 'fixedPorts' })
    this.#sendFixedPorts()
  }

  #sendFixedPorts(): void {
    for (const slave of this.roster.linked()) {
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
    const slave = this.roster.joinedSlave(id)
    if (!slave)
      return Promise.reject(new SshoalError('LINK_LOST', `${type}: the slave ${id} is not in the cluster`))
    return askSlave(slave, this.deps.feed, type, question, deadlineMs)
  }

  close(): void {
    this.live.close()
    this.roster.close()
    this.invalidator.close()
  }
}
