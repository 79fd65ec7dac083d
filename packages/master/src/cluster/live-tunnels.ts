// Every live tunnel, at most one per holder. A change counts only if its epoch is not older than what stands; whether it
// came over the link that speaks for its slave is decided before it comes here. Our own slaves' changes go on to the feed.
import { holderKey, type Forward, type Holder, type Tunnel } from '@sshoal/shared'

import type { LiveClusterDeps } from './cluster-deps.ts'
import type { TunnelFilter, TunnelPage } from './cluster.ts'
import { LiveTunnel } from './live-tunnel.ts'
import { Sightings } from './sightings.ts'
import type { SlaveRecord } from './slave-record.ts'
import { TunnelTable } from './tunnel-table.ts'

const BUCKETS = 4_096
const NO_DETAILS = Object.freeze({})

export interface LiveTunnelsDeps extends Pick<LiveClusterDeps, 'publish' | 'saw' | 'feed'> {
  /** The newer tunnel of a holder took the place of one on another slave, which may not know it yet. */
  moved(older: LiveTunnel, newer: LiveTunnel): void
}

interface Project {
  name: string
  tunnels: number
}

export class LiveTunnels {
  readonly #deps: LiveTunnelsDeps
  readonly #table = new TunnelTable(BUCKETS)
  readonly #perProject = new Map<string, Project>()
  readonly #sightings = new Sightings((tunnel, why) => {
    // Of one that has gone it was noted how it went.
    if (this.#table.get(tunnel.key) === tunnel) this.#saw(tunnel.holder(), tunnel.facts(), tunnel.slave, why)
  })
  /** The greatest epoch that was seen, over all holders. */
  lastEpoch = 0
  readonly counters = { ups: 0, downs: 0, moves: 0, dropped: 0 }

  constructor(deps: LiveTunnelsDeps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#table.size
  }

  get(holder: string): LiveTunnel | undefined {
    return this.#table.get(holder)
  }

  count(project: string): number {
    return this.#perProject.get(project)?.tunnels ?? 0
  }

  /** `only`: the slave that the filter names, where it is in the view. Throws INVALID_CURSOR. */
  page(
    { project, device, slave, region, cursor, limit }: TunnelFilter,
    only: SlaveRecord | undefined,
  ): TunnelPage {
    const fits = (tunnel: LiveTunnel): boolean =>
      (project === undefined || tunnel.project === project) &&
      (device === undefined || tunnel.device === device) &&
      (slave === undefined || tunnel.slave.id === slave) &&
      (region === undefined || tunnel.slave.region === region)
    if (device !== undefined) {
      const projects = project === undefined ? [...this.#perProject.keys()] : [project]
      const found = projects.flatMap((name) => this.#table.ofDevice(name, device)).filter(fits)
      return { tunnels: found.slice(0, limit).map((tunnel) => tunnel.view()), next: null }
    }
    if (slave !== undefined && !only) return { tunnels: [], next: null }
    const page = (only?.table ?? this.#table).page(cursor, limit, fits)
    return { tunnels: page.tunnels.map((tunnel) => tunnel.view()), next: page.next }
  }

  /** Undefined: it stands. Else it lost to a newer tunnel, whose place is told. */
  up(
    slave: SlaveRecord,
    wire: Tunnel,
    options: { announced: boolean },
    key = holderKey(wire),
  ): { reason: string } | undefined {
    const current = this.#table.get(key)
    if (current && isNewer(current, wire.epoch, slave.id)) {
      this.counters.dropped++
      return { reason: `a newer tunnel of ${wire.device} is up on slave ${current.slave.id}` }
    }
    if (slave.wire) {
      const arrived = !options.announced
      this.#deps.feed.publish({ type: 'up', slave: slave.id, link: slave.link, tunnel: wire, arrived })
    }
    if (current && current.slave === slave && current.epoch === wire.epoch) {
      current.saidAgain(wire)
      return undefined
    }
    this.lastEpoch = Math.max(this.lastEpoch, wire.epoch)
    const now = performance.now()
    if (!options.announced) slave.reservations.use(now)
    const project = this.#project(wire.project)
    const tunnel = new LiveTunnel(wire, slave, key, project.name)
    if (current) this.#replace(current, tunnel)
    else project.tunnels++
    this.#table.set(key, tunnel)
    slave.table.set(key, tunnel)
    this.counters.ups++
    const type = current && current.slave !== slave ? 'tunnel.moved' : 'tunnel.up'
    this.#tell(type, tunnel, current && current.slave !== slave ? { from: current.slave.id } : undefined)
    // Its own master writes it down.
    if (slave.master !== undefined) return undefined
    if (options.announced) this.#sightings.add(tunnel, 'announced')
    else if (this.#sightings.mayNote(now, this.size)) this.#saw(wire, wire, slave, 'connected')
    else this.#sightings.add(tunnel, 'connected')
    return undefined
  }

  changed(slave: SlaveRecord, holder: Holder, epoch: number, forwards: Forward[]): void {
    const tunnel = this.#table.get(holderKey(holder))
    if (tunnel?.slave !== slave || tunnel.epoch !== epoch) return void this.counters.dropped++
    tunnel.setForwards(forwards)
    if (slave.wire)
      this.#deps.feed.publish({ type: 'changed', slave: slave.id, link: slave.link, tunnel: tunnel.wire() })
    this.#tell('tunnel.changed', tunnel)
  }

  down(slave: SlaveRecord, holder: Holder, epoch: number, reason: string): void {
    const tunnel = this.#table.get(holderKey(holder))
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

  /** The slave has left the view, and its tunnels with it. */
  removeOf(slave: SlaveRecord, reason: string): void {
    for (const tunnel of slave.table.values()) this.#remove(tunnel, reason)
  }

  /** Notes what is still to be noted. */
  close(): void {
    this.#sightings.close()
  }

  #project(name: string): Project {
    let project = this.#perProject.get(name)
    if (!project) this.#perProject.set(name, (project = { name, tunnels: 0 }))
    return project
  }

  #tellDown(slave: SlaveRecord, holder: LiveTunnel | Holder, epoch: number, reason: string): void {
    if (!slave.wire) return
    const { id, link } = slave
    this.#deps.feed.publish({ type: 'down', slave: id, link, holder: wireHolder(holder), epoch, reason })
  }

  /** The older tunnel leaves the view in the step in which the newer one enters it. */
  #replace(older: LiveTunnel, newer: LiveTunnel): void {
    this.counters.moves++
    older.slave.table.delete(older.key, older)
    if (older.slave !== newer.slave) this.#deps.moved(older, newer)
  }

  #remove(tunnel: LiveTunnel, reason: string): void {
    tunnel.slave.table.delete(tunnel.key, tunnel)
    if (!this.#table.delete(tunnel.key, tunnel)) return
    const project = this.#project(tunnel.project)
    if (--project.tunnels === 0) this.#perProject.delete(project.name)
    this.counters.downs++
    this.#tell('tunnel.down', tunnel, { reason })
    if (tunnel.slave.master === undefined) this.#saw(tunnel.holder(), tunnel.facts(), tunnel.slave, reason)
  }

  #tell(type: string, tunnel: LiveTunnel, more?: object): void {
    this.#deps.publish(type, tunnel.news(more), { project: tunnel.project })
  }

  #saw(
    holder: Holder,
    { remoteAddress, details = NO_DETAILS }: Pick<Tunnel, 'remoteAddress' | 'details'>,
    slave: SlaveRecord,
    why: string,
  ): void {
    // Its own master writes it down.
    if (slave.master !== undefined) return
    const sighting = { at: Date.now(), where: `${remoteAddress} on ${slave.id}`, why }
    if (holder.lease !== undefined) return this.#deps.saw(holder, sighting)
    const region = slave.region === undefined ? {} : { region: slave.region }
    this.#deps.saw(holder, { ...sighting, ...region, details })
  }
}

/** Ties go to the greater slave id (design: "Epoch"). */
function isNewer(current: LiveTunnel, epoch: number, slave: string): boolean {
  return current.epoch > epoch || (current.epoch === epoch && current.slave.id > slave)
}

/** As the wire names a holder: no field that is undefined. */
export function wireHolder({
  project,
  device,
  lease,
}: Pick<LiveTunnel, 'project' | 'device' | 'lease'> | Holder): Holder {
  return { project, device, ...(lease === undefined ? {} : { lease }) }
}
