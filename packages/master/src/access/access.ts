// Puts the rooms of people, pools, targets, gates and grants together.
import type { Log } from '@sshoal/shared'

import type { Cluster, TunnelView } from '../cluster/cluster.ts'
import type { AskHook } from '../hook/ask-hook.ts'
import type { Registry } from '../registry/registry.ts'
import type { Store } from '../store/store.ts'
import type { GateSlaves } from './carriers.ts'
import { Directory } from './directory.ts'
import { Gates } from './gates.ts'
import { Grants } from './grants.ts'
import { Ledger } from './ledger.ts'
import { Pools } from './pools.ts'
import { Projects } from './projects.ts'
import { Reach } from './reach.ts'
import { Revocation } from './revocation.ts'
import { SshConfigDesk } from './ssh-config-desk.ts'
import { TargetTraits } from './target-traits.ts'
import { Targets } from './targets.ts'
import { Users } from './users.ts'
import { VisitDesk } from './visit-desk.ts'
import { Visits } from './visits.ts'
import { withUsers } from './with-users.ts'

export interface AccessDeps {
  store: Store
  registry: Registry
  cluster: Pick<Cluster, 'invalidate'> & {
    tunnelOf(holder: { project: string; device: string }): TunnelView | undefined
  }
  slaves: GateSlaves
  announce(type: string, data: object, scope?: { project?: string }): void
  log: Log
  gateHost: { host: string; port: number | undefined } | undefined
  /** How long an answer about a user counts while no master can be asked, ms. */
  staleLimitMs: number
  /** ms since 1970. */
  now(): number
  countVisit(outcome: string): void
  countReport(what: 'opened' | 'closed' | 'lost'): void
}

export type Access = ReturnType<typeof makeAccess>

export function makeAccess(deps: AccessDeps) {
  const { store, registry, cluster, slaves, announce, log } = deps
  const now = (): number => deps.now()
  const directory = new Directory(store)
  const ledger = new Ledger({ store, announce, now })
  const revocation = new Revocation(directory, cluster, log)
  const rooms = { ledger, directory, revocation }
  const traits = new TargetTraits({
    registry,
    tunnelOf: (holder) => cluster.tunnelOf(holder),
    regionOf: (slave) => slaves.get(slave)?.region,
  })
  const projects = new Projects(rooms)
  const targets = new Targets({ ...rooms, traits })
  const reach = new Reach({ directory, projects, traits, now })
  const visits = new Visits({ store, announce, log, count: deps.countReport, wrote: () => {} })
  return {
    directory,
    projects,
    targets,
    traits,
    users: new Users(rooms),
    pools: new Pools(rooms),
    gates: new Gates({ ...rooms, targets }),
    grants: new Grants(rooms),
    sshConfig: new SshConfigDesk({ directory, reach, slaves, gateHost: deps.gateHost }),
    desk: new VisitDesk({ directory, projects, traits, slaves, reach, visits, now, count: deps.countVisit }),
    /** The hook's answer, and whose key it is beside it. */
    withUsers: (ask: AskHook): AskHook =>
      withUsers({ store, projects, staleLimitMs: deps.staleLimitMs }, ask),
    flush: () => visits.flush(),
    close: () => visits.close(),
  }
}
