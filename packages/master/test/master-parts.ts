// The rooms of a master around a fake cluster, on a store in a temporary folder. Tests close it.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { silentLog } from '@sshoal/shared'

import { makeAccess } from '../src/access/access.ts'
import type { GateSlave } from '../src/access/carriers.ts'
import { buildApi, type ApiConfig, type ApiDeps } from '../src/api/build-api.ts'
import { Events } from '../src/events/events.ts'
import { Health, type HealthLimits } from '../src/health.ts'
import { Leases } from '../src/leases/leases.ts'
import { createMasterMetrics } from '../src/metrics.ts'
import { RefusedKeys } from '../src/registry/refused.ts'
import { Registry } from '../src/registry/registry.ts'
import { openLmdbStore } from '../src/store/lmdb-store.ts'
import { ALL_PROJECTS, type Role } from '../src/tokens/token.ts'
import { Tokens } from '../src/tokens/tokens.ts'
import { FakeCluster } from './fake-cluster.ts'
import { FakeLeaseSlaves } from './leases/fake-slaves.ts'

export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'sshoal-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

export interface RoomsOptions {
  authority?: 'store' | 'hook'
}

export interface PartsOptions extends RoomsOptions {
  config?: Partial<ApiConfig>
  https?: ApiDeps['https']
  health?: Partial<HealthLimits>
  auditKeep?: number
  gateHost?: { host: string; port: number | undefined }
}

/** Store, registry and tokens, without REST. */
export async function startRooms(options: RoomsOptions = {}) {
  const folder = temporaryFolder()
  const store = await openLmdbStore(folder.path)
  const cluster = new FakeCluster()
  const log = silentLog()
  const registry = new Registry({ store, cluster, log, authority: options.authority ?? 'store' })
  const tokens = new Tokens(store)
  return {
    log,
    store,
    cluster,
    registry,
    tokens,
    async close(): Promise<void> {
      await registry.close()
      await store.close()
      folder.remove()
    },
  }
}

/** All of it, with a REST interface that does not listen. */
export async function startParts(options: PartsOptions = {}) {
  const rooms = await startRooms(options)
  const { store, cluster, registry, tokens, log } = rooms
  const events = new Events()
  const refused = new RefusedKeys()
  const metrics = createMasterMetrics(cluster)
  const state = { ready: true }
  const leaseSlaves = new FakeLeaseSlaves()
  const clock = { now: Date.now() }
  const counted: string[] = []
  const leases = new Leases({
    store,
    registry,
    slaves: leaseSlaves,
    announce: (type, data, scope) => {
      events.publish(type, data, scope)
      void access.leases.note(type, scope?.project ?? 'default', data)
    },
    publish: (type, data, scope) => events.publish(type, data, scope),
    log,
    maxMs: 86_400_000,
    shared: false,
    now: () => clock.now,
    count: (what) => counted.push(what),
    countRefused: (code) => counted.push(code),
  })
  const health = new Health({
    limits: { memoryMB: 4_096, delayMs: 10_000, queue: 1_000, ...options.health },
    queue: () => leases.backlog,
  })
  const gateSlaves = new Map<string, GateSlave>()
  const visitOutcomes: string[] = []
  const access = makeAccess({
    store,
    registry,
    cluster,
    slaves: { get: (id) => gateSlaves.get(id), all: () => gateSlaves.values() },
    masters: () => [{ hosts: ['192.0.2.1'], ports: [{ first: 8_080, last: 8_080 }] }],
    announce: (type, data, scope) => events.publish(type, data, scope),
    log,
    gateHost: options.gateHost,
    staleLimitMs: 3_600_000,
    auditRetentionMs: 90 * 86_400_000,
    auditKeep: options.auditKeep ?? 1_000_000,
    now: () => clock.now,
    countVisit: (outcome) => visitOutcomes.push(outcome),
    countReport: (what) => visitOutcomes.push(what),
    countDropped: (lines) => visitOutcomes.push(`dropped ${lines}`),
  })
  registry.onChanged((before, after) => access.deviceChanged(before, after))
  access.users.onRemoved(({ project, id }) => tokens.revokeOf(project, id))
  registry.onRemoved(async (project, device, target) => {
    await leases.revokeOf(project, device)
    if (target) await access.targets.forget(target)
  })
  await leases.start()
  const api = await buildApi({
    cluster,
    registry,
    leases,
    access,
    health,
    refused,
    tokens,
    events,
    metrics,
    store,
    log,
    ready: () => state.ready,
    https: options.https,
    config: {
      master: 'm1',
      version: '0.1.0',
      trustProxy: [],
      connectRate: 100,
      connectBurst: 1_000,
      ...options.config,
    },
  })
  const token = async (role: Role, project = ALL_PROJECTS): Promise<string> =>
    (await tokens.mint({ role, project, label: role })).secret
  const admin = await token('admin')

  return {
    store,
    cluster,
    registry,
    tokens,
    events,
    refused,
    metrics,
    leases,
    leaseSlaves,
    access,
    gateSlaves,
    visitOutcomes,
    clock,
    counted,
    api,
    state,
    admin,
    token,
    /** One request; `as` is the token, the admin's where it is not said. */
    async call(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', url: string, body?: object | null, as = admin) {
      const response = await api.inject({
        method,
        url,
        headers: { authorization: `Bearer ${as}` },
        ...(body === undefined || body === null ? {} : { payload: body }),
      })
      return {
        status: response.statusCode,
        headers: response.headers,
        // `any`, as JSON.parse says: tests look at answers as a client does.
        body: response.body === '' ? undefined : JSON.parse(response.body),
      }
    },
    async close(): Promise<void> {
      await api.close()
      leases.close()
      await access.close()
      health.close()
      events.close()
      await rooms.close()
    },
  }
}
