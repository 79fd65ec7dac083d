// What the live cluster needs of the rest of the master: its parts take these as arguments and import none of it.
import type { FixedPort, Holder, LeaseGrant, Log, WhoAnswer } from '@sshoal/shared'

import type { LateData } from '../events/events.ts'
import type { Store } from '../store/store.ts'
import type { ClusterFeed } from './feed/cluster-feed.ts'
import type { GateDesk } from './gate-desk.ts'
import type { RegionFallback } from './select-slave.ts'

export interface Sighting {
  at: number
  where: string
  why: string
  /** Of a device's own tunnel. */
  region?: string
  details?: Record<string, unknown>
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
  publish(
    type: string,
    data: object | LateData,
    scope?: { project?: string; source?: string; reason?: string },
  ): void
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
