// Puts the rooms of people, pools, targets, gates and grants together.
import type { Log, Place } from '@sshoal/shared'

import type { Cluster } from '../cluster/cluster.ts'
import type { AskHook } from '../hook/ask-hook.ts'
import type { Device } from '../registry/device.ts'
import type { Registry } from '../registry/registry.ts'
import type { Store } from '../store/store.ts'
import { AuditLog } from './audit-log.ts'
import { AuditSweep } from './audit-sweep.ts'
import { AuditWriter } from './audit-writer.ts'
import type { GateSlaves } from './carriers.ts'
import { DeviceTargets } from './device-targets.ts'
import { Directory } from './directory.ts'
import { Gates } from './gates.ts'
import { Grants } from './grants.ts'
import { LeaseAudit } from './lease-audit.ts'
import { Ledger } from './ledger.ts'
import { LostVisits } from './lost-visits.ts'
import { OwnPlaces } from './own-places.ts'
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
  cluster: Pick<Cluster, 'invalidate' | 'tunnels' | 'tunnelOf'>
  slaves: GateSlaves
  /** Where this master and the others listen. */
  masters(): Iterable<Place>
  announce(type: string, data: object, scope?: { project?: string }): void
  log: Log
  gateHost: { host: string; port: number | undefined } | undefined
  /** How long an answer about a user counts while no master can be asked, ms. */
  staleLimitMs: number
  auditRetentionMs: number
  auditKeep: number
  /** ms since 1970. */
  now(): number
  countDropped(lines: number): void
  countVisit(outcome: string): void
  countReport(what: 'opened' | 'closed' | 'lost'): void
}

export type Access = ReturnType<typeof makeAccess>

export function makeAccess(deps: AccessDeps) {
  const { store, registry, cluster, slaves, announce, log } = deps
  const now = (): number => deps.now()
  const directory = new Directory(store)
  const sweep = new AuditSweep({
    store,
    log,
    retentionMs: deps.auditRetentionMs,
    keep: deps.auditKeep,
    now,
    count: deps.countDropped,
  })
  const wrote = (project: string, lines: number): void => sweep.wrote(project, lines)
  const ledger = new Ledger({ store, announce, now, wrote })
  const revocation = new Revocation(directory, cluster, log)
  const rooms = { ledger, directory, revocation }
  const traits = new TargetTraits({
    registry,
    tunnelOf: (holder) => cluster.tunnelOf(holder),
    online: (project, limit) => cluster.tunnels({ project, limit }).tunnels.map(({ device }) => device),
    regionOf: (slave) => slaves.get(slave)?.region,
  })
  const projects = new Projects(rooms)
  const targets = new Targets({ ...rooms, traits })
  const reach = new Reach({ directory, projects, traits, now })
  const ownPlaces = new OwnPlaces({ slaves, store, gateHost: deps.gateHost, masters: deps.masters })
  const writer = new AuditWriter({ store, log, wrote, lost: () => deps.countReport('lost') })
  const visits = new Visits({ writer, slaves, announce, count: deps.countReport })
  const lostVisits = new LostVisits({
    store,
    slaves,
    log,
    now,
    announce: (record) => visits.announce(record),
  })
  return {
    directory,
    ledger,
    projects,
    targets,
    traits,
    users: new Users(rooms),
    pools: new Pools(rooms),
    gates: new Gates({ ...rooms, targets }),
    grants: new Grants(rooms),
    audit: new AuditLog(store),
    sshConfig: new SshConfigDesk({ directory, reach, slaves, gateHost: deps.gateHost }),
    desk: new VisitDesk({
      directory,
      projects,
      traits,
      slaves,
      reach,
      visits,
      ownPlaces,
      now,
      count: deps.countVisit,
    }),
    /** The hook's answer, and whose key it is beside it. */
    withUsers: (ask: AskHook): AskHook =>
      withUsers({ store, projects, staleLimitMs: deps.staleLimitMs }, ask),
    /** Something else is said of a device: who reached it by a selector alone is asked about again. */
    deviceChanged: async (before: Device, after: Device): Promise<void> => {
      if (before.region === after.region && before.name === after.name && before.mac === after.mac) return
      const own = await new DeviceTargets(store).of(after.project, after.id)
      if (own) await revocation.on(after.project, await targets.selectors(own.target), undefined)
    },
    /** A slave left the view, or came into it. */
    slaveChanged: (slave: string) => lostVisits.slaveChanged(slave),
    sweepLostVisits: () => lostVisits.sweep(),
    leases: new LeaseAudit(writer, store, now),
    flush: () => writer.flush(),
    sweepAudit: () => sweep.sweep(),
    close: async () => {
      await lostVisits.close()
      await sweep.close()
      await writer.close()
    },
  }
}
