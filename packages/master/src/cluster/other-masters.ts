// What other masters tell, and what they are told of ours when they must hear it again. A change about a slave counts only
// if its link is the slave's current one.
import { holderKey, SshoalError } from '@sshoal/shared'

import type { Admission } from './admission.ts'
import { PROBE_DEADLINE_MS } from './ask-slave.ts'
import type { LiveClusterDeps } from './cluster-deps.ts'
import type {
  FeedChange,
  FeedListener,
  FeedSnapshot,
  SlaveChange,
  SlaveRequest,
} from './feed/cluster-feed.ts'
import type { Invalidator } from './invalidator.ts'
import type { LiveTunnels } from './live-tunnels.ts'
import type { Roster } from './roster.ts'

export interface OtherMastersDeps extends Pick<LiveClusterDeps, 'publish' | 'refused' | 'revoked'> {
  roster: Roster
  tunnels: LiveTunnels
  admission: Admission
  invalidator: Invalidator
  /** Another master changed who has which port. */
  fixedPortsChanged(): void
}

export class OtherMasters implements FeedListener {
  readonly #deps: OtherMastersDeps

  constructor(deps: OtherMastersDeps) {
    this.#deps = deps
  }

  onChange(change: FeedChange, master: string): void {
    const { roster, invalidator, admission, publish, refused, revoked } = this.#deps
    switch (change.type) {
      case 'slots':
        for (const id of change.slaves) roster.joinedSlave(id)?.reservations.hold(performance.now())
        return
      case 'invalidate':
        // Each master tells its own slaves; the one that was asked does not wait for the others.
        return void invalidator.take(change)
      case 'fixedPorts':
        return this.#deps.fixedPortsChanged()
      case 'contested':
        return admission.noteContest(change.holder)
      case 'event':
        return publish(change.event.type, change.event.data, change.event.scope)
      case 'refused':
        return refused(change.refusal, true)
      case 'revoked':
        return revoked(change.token)
      case 'joining':
        return void roster.follow(change.slave, change.link, master, change.facts)
      default:
        return this.#onSlaveChange(change)
    }
  }

  #onSlaveChange(change: Exclude<SlaveChange, { type: 'joining' }>): void {
    const { roster, tunnels } = this.#deps
    const slave = roster.slave(change.slave)
    if (!slave || slave.master === undefined || slave.link !== change.link)
      return void tunnels.counters.dropped++
    switch (change.type) {
      case 'up':
        slave.named?.set(holderKey(change.tunnel), change.tunnel.epoch)
        tunnels.up(slave, change.tunnel, { announced: !change.arrived })
        return
      case 'synced':
        if (slave.named) tunnels.keepOnly(slave, slave.named)
        slave.named = undefined
        return roster.joined(slave)
      case 'changed':
        return tunnels.changed(slave, change.tunnel, change.tunnel.epoch, change.tunnel.forwards)
      case 'down':
        return tunnels.down(slave, change.holder, change.epoch, change.reason)
      case 'status':
        return roster.statusChanged(slave, change.status)
      case 'state':
        return roster.stateChanged(slave, change.facts.state)
      case 'gone':
        return roster.drop(slave, change.reason)
    }
  }

  onSnapshot({ slaves }: FeedSnapshot): void {
    const { roster, invalidator } = this.#deps
    void invalidator.catchUp()
    const seen = new Set<string>()
    for (const { slave: id, link, master, facts, status, tunnels, synced } of slaves) {
      seen.add(id)
      // Ours is as new as the feed's, or the feed will hear of it.
      const known = roster.slave(id)
      if (known?.link === link && known.wire) continue
      if (!roster.follow(id, link, master, facts)) continue
      for (const tunnel of tunnels)
        this.#onSlaveChange({ type: 'up', slave: id, link, tunnel, arrived: false })
      if (synced) this.#onSlaveChange({ type: 'synced', slave: id, link })
      this.#onSlaveChange({ type: 'status', slave: id, link, status })
    }
    roster.onlyTheirs(seen)
  }

  *holdings(only?: ReadonlySet<string>): Iterable<FeedChange> {
    for (const slave of this.#deps.roster.linked()) {
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
    this.#deps.roster.silent(slaves)
  }

  async onRequest(id: string, type: SlaveRequest, question: unknown): Promise<unknown> {
    const { wire } = this.#deps.roster.joinedSlave(id) ?? {}
    if (!wire) throw new SshoalError('LINK_LOST', `${type}: the slave ${id} is not linked here`)
    return wire.request(type, question as never, PROBE_DEADLINE_MS)
  }
}
