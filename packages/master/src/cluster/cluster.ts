// What the rest of the master may ask of the live cluster. The implementation beside this file keeps counters, so that
// `overview` costs the same at ten tunnels and at a million. Nothing here is durable.
import type { Details, Forward, Holder, Place } from '@sshoal/shared'

/** One slave as `GET /cluster` shows it. */
export interface SlaveView {
  id: string
  publicHost: string
  publicPort: number
  region: string | null
  state: 'ready' | 'stale' | 'draining'
  tunnels: number
  /** Slots that were given and not yet used or expired. */
  reserved: number
  capacity: number
  /** Share of one core, 0 to 1. */
  load: number
  version: string
  uptimeSeconds: number
  /** The slave's own addresses and the one the master sees. */
  addresses: string[]
  registeredAt: string
}

export interface MasterView {
  id: string
  version: string
  uptimeSeconds: number
  /** Where it listens; not for everybody's eyes. */
  place?: Place
}

export interface ClusterView {
  masters: MasterView[]
  slaves: SlaveView[]
  totals: { slaves: number; tunnels: number; reserved: number }
}

/** One tunnel as `GET /cluster/tunnels` shows it. */
export interface TunnelView {
  device: string
  project: string
  lease?: string
  slave: string
  host: string
  forwards: ForwardView[]
  remoteAddress: string
  fingerprint: string
  /** RFC 3339. */
  connectedAt: string
  epoch: number
  details: Details
}

export interface ForwardView extends Pick<Forward, 'kind' | 'bindAddress' | 'bindPort' | 'port'> {
  /** `host:port` where visitors reach it; null for a named forward, which only the gate reaches. */
  address: string | null
}

export interface TunnelFilter {
  /** Undefined: all projects. */
  project?: string
  device?: string
  slave?: string
  region?: string
  cursor?: string
  limit: number
}

export interface TunnelPage {
  tunnels: TunnelView[]
  /** Null on the last page. */
  next: string | null
}

export interface SlotRequest {
  region?: string
  /** Only slaves that devices reach on this SSH port. */
  port?: number
}

export interface Slot {
  slave: string
  /** The slave's public host; null: it is only known by a loopback address, so the asker's own name for the master is as good. */
  host: string | null
  port: number
  hostKeys: { algorithm: string; publicKey: string }[]
  expiresInMs: number
}

export interface Cluster {
  /** Reserves a place for 2.5 s on the least busy slave; undefined: none is ready. Least busy = (tunnels + reserved) / capacity. */
  slot(request: SlotRequest): Slot | undefined | Promise<Slot | undefined>
  view(): ClusterView
  /** Throws INVALID_CURSOR. */
  tunnels(filter: TunnelFilter): TunnelPage
  /** The live tunnel of a device (its own, not a lease's). */
  tunnelOf(holder: Holder): TunnelView | undefined
  /** How many live tunnels a project has. */
  count(project: string): number
  /** Ends the tunnel; false: there was none. The device may come back. */
  kick(holder: Holder, reason: string): Promise<boolean>
  /**
   * Drops cached answers about these keys (null: all) on every linked slave, has it ask again and cut what is now refused.
   * Resolves with the number of tunnels that were cut, when every linked slave answered or its deadline passed.
   * `number`: what the store gave it together with the change that it follows; default: it is numbered now.
   */
  invalidate(fingerprints: string[] | null, number?: number): Promise<number>
  /** Stops placing on the slave and moves its devices away over the time. Throws UNKNOWN_SLAVE. */
  drain(slave: string, overMs: number): Promise<{ tunnels: number }>
  /** Tells slaves which ports belong to whom; call after a device's `ports` changed. */
  fixedPortsChanged(): void
}
