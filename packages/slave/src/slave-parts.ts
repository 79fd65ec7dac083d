// What a connection needs of its slave. Made once in start-slave.ts and handed down; nobody reaches around it.
import type { AdmitAnswer, AdmitQuestion, Log } from '@sshoal/shared'

import type { Connections } from './connections.ts'
import type { Gate } from './gate/gate.ts'
import type { Identities } from './identities.ts'
import type { Keepalive } from './keepalive.ts'
import type { Leases } from './leases.ts'
import type { MasterLink } from './master-link.ts'
import type { SlaveMetrics } from './metrics.ts'
import type { SlaveSettings } from './options.ts'
import type { Penalties } from './penalties.ts'
import type { Ports } from './ports.ts'
import type { Waiting } from './startups.ts'
import type { Tunnels } from './tunnels.ts'

export interface SlaveParts {
  readonly id: string
  readonly settings: SlaveSettings
  readonly capacity: number
  /** What tunnels may take in all: one each, a second for each bound forward. */
  readonly sockets: number
  readonly gate: Gate
  readonly identities: Identities
  readonly leases: Leases
  readonly tunnels: Tunnels
  readonly ports: Ports
  readonly connections: Connections
  readonly keepalive: Keepalive
  readonly metrics: SlaveMetrics
  readonly penalties: Penalties
  readonly waiting: Waiting
  readonly log: Log
  readonly link: Pick<MasterLink, 'send' | 'request' | 'linked'>
  readonly draining: boolean
  /** True as soon as the first welcome of a master was read; false when `deadlineMs` passed before. */
  welcomed(deadlineMs: number): Promise<boolean>
  /** An epoch from the master, or from our own clock while there is none. */
  admit(question: AdmitQuestion): Promise<AdmitAnswer>
}
