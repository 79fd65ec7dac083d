// The slaves of the view: which link speaks for which slave, who is joining, who is in its grace, who is another master's.
// A slave leaves with its tunnels. Fed by slave-link.ts for our own slaves and by other-masters.ts for the rest.
import { CLOSE, type SlaveStatus } from '@sshoal/shared'

import type { LiveClusterDeps } from './cluster-deps.ts'
import type { SlaveFacts } from './feed/cluster-feed.ts'
import { LeastBusy } from './least-busy.ts'
import type { LiveTunnels } from './live-tunnels.ts'
import { SlaveRecord } from './slave-record.ts'

export const LOST = 'the slave was lost'
/** How long the slaves of a master that fell silent stay in the view: others may say them again. */
const MISSING_GRACE_MS = 10_000

export type RosterDeps = Pick<LiveClusterDeps, 'slaveGraceMs' | 'regionFallback' | 'publish' | 'feed' | 'log'>

export class Roster {
  readonly #deps: RosterDeps
  readonly #tunnels: LiveTunnels
  readonly #slaves = new Map<string, SlaveRecord>()
  /** The same, in the order of a choice among them. */
  readonly leastBusy: LeastBusy<SlaveRecord>
  /** Slaves that were let in for the first time and whose snapshot is still being read. */
  readonly #joining = new Map<string, SlaveRecord>()
  readonly #graces = new Map<string, NodeJS.Timeout>()
  #lastSince = 0
  #closed = false

  constructor(deps: RosterDeps, tunnels: LiveTunnels) {
    this.#deps = deps
    this.#tunnels = tunnels
    this.leastBusy = new LeastBusy(deps.regionFallback)
  }

  get size(): number {
    return this.#slaves.size
  }

  /** All that have joined, ordered by id. */
  get joinedSlaves(): readonly SlaveRecord[] {
    return this.leastBusy.all
  }

  /** Of this id, where it has joined. */
  joinedSlave(id: string): SlaveRecord | undefined {
    return this.#slaves.get(id)
  }

  /** The slave of this id: linked, in its grace, or still handing in its snapshot. */
  slave(id: string): SlaveRecord | undefined {
    return this.#slaves.get(id) ?? this.#joining.get(id)
  }

  slaves(): IterableIterator<SlaveRecord> {
    return this.#slaves.values()
  }

  /** Those that are linked to this master. */
  linked(): SlaveRecord[] {
    return [...this.#slaves.values()].filter((slave) => slave.wire !== undefined)
  }

  /** When a link was challenged, µs of the cluster's clock: later than every link that was heard of until then. */
  nextSince(): number {
    this.#lastSince = Math.max(this.#lastSince + 1, this.#deps.feed.nowMicros())
    return this.#lastSince
  }

  // ---- our own slaves (slave-link.ts)

  /** A link was proven: its tunnels enter the view from now on, and leave it with the link. */
  joining(slave: SlaveRecord, since = this.nextSince()): void {
    if (this.#slaves.get(slave.id) !== slave) this.#joining.set(slave.id, slave)
    slave.since = since
    this.#deps.feed.publish({ type: 'joining', slave: slave.id, link: slave.link, facts: slave.facts() })
  }

  /** A link was proven and its snapshot read: `slave` speaks for its id from now on. */
  joined(slave: SlaveRecord): void {
    if (slave.wire) {
      this.#deps.feed.publish({ type: 'synced', slave: slave.id, link: slave.link })
      this.#tellState(slave)
    }
    this.#endGrace(slave.id)
    const isNew = !this.#slaves.has(slave.id)
    this.#joining.delete(slave.id)
    this.#slaves.set(slave.id, slave)
    slave.changed = (itself) => this.leastBusy.changed(itself)
    this.leastBusy.set(this.#slaves.values())
    const { id, region, tunnels } = slave
    this.#deps.publish(isNew ? 'slave.ready' : 'slave.synced', {
      slave: id,
      region: region ?? null,
      tunnels,
      link: slave.link,
    })
    this.#deps.log.info({ slave: id, region, tunnels, returned: !isNew }, 'slave joined')
  }

  /** The link broke. A `bye` leaves at once, anything else gets the grace. */
  left(slave: SlaveRecord, link: string, bye: string | undefined): void {
    if (slave.link !== link || this.#closed) return
    slave.lose()
    const gone = bye !== undefined || this.#joining.get(slave.id) === slave
    if (gone) this.#tellGone(slave, link, bye ?? 'left before it had joined')
    else this.#tellState(slave)
    if (this.#joining.get(slave.id) === slave) {
      this.#joining.delete(slave.id)
      this.#tunnels.removeOf(slave, 'its slave left before it had joined')
      return
    }
    if (this.#slaves.get(slave.id) !== slave) return
    if (bye !== undefined) return this.drop(slave, bye)
    const { slaveGraceMs } = this.#deps
    this.#deps.publish('slave.stale', { slave: slave.id, tunnels: slave.tunnels })
    this.#deps.log.warn({ slave: slave.id, graceMs: slaveGraceMs }, 'slave stale')
    this.#grace(slave.id, slaveGraceMs, () => {
      this.#tellGone(slave, link, LOST)
      this.drop(slave, LOST)
    })
  }

  drainingChanged(slave: SlaveRecord, draining: boolean): void {
    slave.setDraining(draining)
    if (slave.wire) this.#tellState(slave)
    this.#deps.publish(draining ? 'slave.draining' : 'slave.ready', {
      slave: slave.id,
      tunnels: slave.tunnels,
    })
  }

  statusChanged(slave: SlaveRecord, status: SlaveStatus): void {
    slave.status = status
    if (slave.wire) this.#deps.feed.publish({ type: 'status', slave: slave.id, link: slave.link, status })
  }

  // ---- other masters' slaves (other-masters.ts)

  /** The slave is linked to another master. False: what we know is newer, and the other will hear of it. */
  follow(id: string, link: string, master: string, facts: SlaveFacts): boolean {
    const known = this.slave(id)
    if (known && facts.since < known.since) return false
    this.#lastSince = Math.max(this.#lastSince, facts.since)
    this.#endGrace(id)
    known?.wire?.close(CLOSE.REPLACED, 'a newer link of this slave took over, at another master')
    const slave = known ?? new SlaveRecord(facts.hello, link, undefined, facts.seenAddress)
    slave.follow(master, link, facts)
    slave.named = new Map()
    if (!known) this.#joining.set(id, slave)
    return true
  }

  stateChanged(slave: SlaveRecord, state: SlaveFacts['state']): void {
    const before = slave.state
    slave.setState(state)
    if (state !== before && this.#slaves.get(slave.id) === slave)
      this.#deps.publish(`slave.${state}`, { slave: slave.id, tunnels: slave.tunnels })
  }

  /** These, of all that hang on other masters, were not renewed lately. */
  silent(ids: ReadonlySet<string>): void {
    for (const slave of this.#slaves.values()) {
      const before = slave.state
      slave.setSilent(slave.master !== undefined && ids.has(slave.id))
      if (slave.state !== before)
        this.#deps.publish(`slave.${slave.state}`, { slave: slave.id, tunnels: slave.tunnels })
    }
  }

  /** Others hold these slaves and no more: those of other masters that are missing leave, after a grace. */
  onlyTheirs(seen: ReadonlySet<string>): void {
    for (const slave of this.#joining.values())
      if (slave.master !== undefined && !seen.has(slave.id)) this.drop(slave, LOST)
    for (const slave of this.#slaves.values()) {
      if (slave.master === undefined || seen.has(slave.id) || this.#graces.has(slave.id)) continue
      this.#grace(slave.id, MISSING_GRACE_MS, () => this.drop(slave, LOST))
    }
  }

  /** It leaves with its tunnels, joined or still joining; unless it is linked here by now. */
  drop(slave: SlaveRecord, reason: string): void {
    if (this.#joining.get(slave.id) === slave) {
      this.#joining.delete(slave.id)
      this.#tunnels.removeOf(slave, reason)
      return
    }
    this.#graces.delete(slave.id)
    if (this.#slaves.get(slave.id) !== slave || slave.wire) return
    const { tunnels } = slave
    this.#slaves.delete(slave.id)
    slave.changed = undefined
    this.leastBusy.set(this.#slaves.values())
    this.#tunnels.removeOf(slave, reason)
    this.#deps.publish('slave.lost', { slave: slave.id, tunnels, reason })
    this.#deps.log.warn({ slave: slave.id, tunnels, reason }, 'slave lost')
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#graces.values()) clearTimeout(timer)
  }

  #grace(id: string, ms: number, over: () => void): void {
    clearTimeout(this.#graces.get(id))
    this.#graces.set(id, setTimeout(over, ms))
  }

  #endGrace(id: string): void {
    clearTimeout(this.#graces.get(id))
    this.#graces.delete(id)
  }

  #tellState(slave: SlaveRecord): void {
    this.#deps.feed.publish({ type: 'state', slave: slave.id, link: slave.link, facts: slave.facts() })
  }

  #tellGone(slave: SlaveRecord, link: string, reason: string): void {
    this.#deps.feed.publish({ type: 'gone', slave: slave.id, link, reason })
  }
}
