// Puts a master together from its parts, starts it and ends it: store, tokens, registry, hook, live cluster, REST, links.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import type { Server as TlsServer } from 'node:tls'

import {
  DEFAULT_PROJECT,
  formatHostPort,
  isLoopback,
  onePort,
  SshoalError,
  type Log,
  type Place,
} from '@sshoal/shared'

import { createAccessMetrics } from './access/access-metrics.ts'
import { makeAccess } from './access/access.ts'
import { buildApi } from './api/build-api.ts'
import { addressBehindProxies } from './api/proxy-address.ts'
import type { ClusterFeed } from './cluster/feed/cluster-feed.ts'
import { SoloFeed } from './cluster/feed/solo-feed.ts'
import { LinkServer } from './cluster/link-server.ts'
import { LiveCluster } from './cluster/live-cluster.ts'
import { Events, type EventScope } from './events/events.ts'
import { Health } from './health.ts'
import { createAskHook } from './hook/ask-hook.ts'
import type { ValidateDevice } from './hook/hook.ts'
import { hookAuthority, openHook } from './hook/open-hook.ts'
import { withLeases } from './leases/lease-answer.ts'
import { createLeaseMetrics } from './leases/lease-metrics.ts'
import { leaseSlaves } from './leases/lease-slaves.ts'
import { Leases } from './leases/leases.ts'
import { hostsOf, listen, reachable, readTls } from './listening.ts'
import { createMasterMetrics } from './metrics.ts'
import { readRegionFallback, type MasterSettings } from './options.ts'
import { FixedPorts } from './registry/fixed-ports.ts'
import { RefusedKeys } from './registry/refused.ts'
import { Registry } from './registry/registry.ts'
import { openStore, redisAccess } from './store/open-store.ts'
import { readRedisTls } from './store/redis-address.ts'
import { ensureTokenFiles } from './tokens/token-files.ts'
import { mayActAs } from './tokens/token.ts'
import { Tokens } from './tokens/tokens.ts'
import { version } from './version.ts'

export interface MasterDeps {
  log: Log
  /** The hook as a function; goes before `--hook`. */
  validate_device?: ValidateDevice
  /** With TLS: also serve plain HTTP on a free loopback port, for the slaves that `sshoal up` runs beside it. Default false. */
  localLink?: boolean
}

export interface Master {
  /** With the real port, also where 0 was asked for. */
  url: string
  /** Where slaves on this machine link: `url`, or the loopback port of `localLink`. */
  linkUrl: string
  dataDir: string
  adminTokenFile: string
  slaveTokenFile: string
  slaveToken: string
  /** Twice is once. Links are told, so that slaves go elsewhere at once. */
  close(): Promise<void>
  /** Reads TLS files and the hook again; what fails keeps its old state and is logged. */
  reload(): Promise<void>
}

/** Rejects with a coded SshoalError (INVALID_CONFIG, STORE_LOCKED, STORE_UNAVAILABLE, HOOK_LOAD_FAILED, LISTEN_FAILED, …); then nothing is left running. */
export async function startMaster(settings: MasterSettings, deps: MasterDeps): Promise<Master> {
  checkSettings(settings)
  const undo: (() => Promise<void> | void)[] = []
  try {
    return await start(settings, deps, undo)
  } catch (error) {
    await undoAll(undo)
    throw error
  }
}

/** The last first: what others stand on ends after them. */
async function undoAll(undo: (() => Promise<void> | void)[]): Promise<void> {
  for (const step of undo.splice(0).toReversed()) await step()
}

async function start(
  settings: MasterSettings,
  { log, validate_device, localLink = false }: MasterDeps,
  undo: (() => Promise<void> | void)[],
): Promise<Master> {
  let ready = false
  const store = await openStore(settings, log)
  undo.push(() => store.close())
  const tokens = new Tokens(store)
  const owner = settings.redis === undefined ? undefined : `${hostname()}:${resolve(settings.data)}`
  const tokenFiles = await ensureTokenFiles(settings.data, tokens, owner)
  // Another store took its place, by an import or because somebody accepted it: this master's own tokens go along.
  let storeId = store.id
  store.onState((state, id) => {
    if (state !== 'ok' || id === storeId) return
    storeId = id
    ensureTokenFiles(settings.data, tokens, owner).catch((error: unknown) =>
      log.error({ err: error }, 'the token files could not be registered in the new store'),
    )
  })
  const events = new Events({ keep: settings.eventsKeep, keepMs: settings.eventsKeepTime })
  undo.push(() => events.close())
  const refused = new RefusedKeys()
  const hookSource = validate_device ?? settings.hook
  const regionFallback = readRegionFallback(settings.regionFallback)
  const master: { id: string; version: string; place?: Place } = {
    id: `${hostname()}-${randomUUID().slice(0, 8)}`,
    version,
  }
  const feed = await openFeed(settings, master, log)
  undo.push(() => feed.close())
  /** What other masters cannot see in the live view, they are told. */
  const announce = (type: string, data: object, scope: EventScope = {}): void => {
    events.publish(type, data, scope)
    feed.publish({ type: 'event', event: { type, data, scope } })
  }
  const cluster = new LiveCluster({
    master,
    slaveGraceMs: settings.slaveGrace,
    regionFallback,
    publish: (type, data, scope) => events.publish(type, data, scope),
    announce,
    saw: ({ project, device }, { at: _at, ...seen }) => registry.seen(project, device, seen),
    refused: (refusal, elsewhere) => {
      refused.note(refusal)
      const { project, device, code, reason, remoteAddress } = refusal
      if (!elsewhere) {
        metrics.refusals.inc({ code })
        feed.publish({ type: 'refused', refusal })
      }
      if (!elsewhere && project !== undefined && device !== undefined)
        registry.seen(project, device, { where: remoteAddress, why: `refused: ${reason}` })
      if (!elsewhere && code === 'LISTEN_FAILED' && refusal.publicKey !== undefined)
        void leases.portLost(refusal.publicKey, reason).catch(() => {}) // the device's next try says it again
      const scope = { source: remoteAddress, reason: code, ...(project === undefined ? {} : { project }) }
      const type = REFUSED_EVENTS[code] ?? 'device.refused'
      events.publish(
        type,
        { code, reason, remoteAddress, ...(device === undefined ? {} : { device }), ...shownKey(refusal) },
        scope,
      )
    },
    revoked: (token) => tokens.revokedElsewhere(token),
    feed,
    ask: (question) => answer(question),
    leases: (slave) => leases.grantsOf(slave),
    gate: {
      visit: (question, slave) => access.desk.visit(question, slave),
      reach: (question, slave) => access.desk.reach(question, slave),
      isPeer: (publicKey) => access.desk.isPeer(publicKey),
      own: (question) => access.desk.own(question),
      visited: (report, slave) => access.desk.visited(report, slave),
    },
    fixedPorts: (region) => fixedPorts.of(region),
    store,
    lastInvalidation: store.state === 'changed' ? 0 : await store.lastInvalidation(),
    log,
  })
  const metrics = createMasterMetrics(cluster)
  events.subscribe(({ type }) => metrics.events.inc({ type }))
  const registry = new Registry({ store, cluster, log, authority: hookAuthority(hookSource) })
  undo.push(() => registry.close())
  const fixedPorts = new FixedPorts(registry, regionFallback)
  const hook = await openHook(hookSource, {
    registry,
    cluster,
    log,
    secret: settings.hookSecret,
    insecure: settings.insecureHttp,
  })
  undo.push(() => hook.close())
  const askHook = createAskHook({
    validate_device: hook.validate_device,
    events: { publish: announce },
    log,
    regionFallback,
    concurrency: settings.hookConcurrency,
    deadlineMs: settings.hookDeadline,
    cacheTtlMs: settings.cacheTtl,
    staleLimitMs: settings.staleLimit,
    onKnown: (project, device) => registry.remember(project, device),
    onAnswer: (outcome, ms) => {
      metrics.hookAnswers.inc({ outcome })
      metrics.hookSeconds.observe(ms / 1_000)
    },
  })
  const leaseMetrics = createLeaseMetrics(metrics.registry)
  const leases = new Leases({
    store,
    registry,
    slaves: leaseSlaves(cluster, regionFallback),
    announce: (type, data, scope) => {
      announce(type, data, scope)
      void access.leases.note(type, scope?.project ?? DEFAULT_PROJECT, data)
    },
    publish: (type, data, scope) => events.publish(type, data, scope),
    log,
    maxMs: settings.leaseMax,
    shared: settings.redis !== undefined,
    now: () => Math.floor(feed.nowMicros() / 1_000),
    count: (change) => leaseMetrics.changes.inc({ change }),
    countRefused: (code) => leaseMetrics.refused.inc({ code }),
  })
  leaseMetrics.watch(leases)
  const accessMetrics = createAccessMetrics(metrics.registry)
  const access = makeAccess({
    store,
    registry,
    cluster,
    slaves: { get: (id) => cluster.roster.slave(id), all: () => cluster.slaves() },
    masters: () => [master, ...feed.others()].flatMap(({ place }) => place ?? []),
    announce,
    log,
    gateHost: settings.gateHost,
    staleLimitMs: settings.staleLimit,
    auditRetentionMs: settings.auditRetention,
    auditKeep: settings.auditKeep,
    now: () => Math.floor(feed.nowMicros() / 1_000),
    countVisit: (outcome) => accessMetrics.asked.inc({ outcome }),
    countReport: (what) => accessMetrics.reported.inc({ what }),
    countDropped: (lines) => accessMetrics.dropped.inc(lines),
  })
  undo.push(() => access.close())
  undo.push(() => leases.close())
  registry.onChanged((before, after) => access.deviceChanged(before, after))
  access.users.onRemoved(({ project, id }) => tokens.revokeOf(project, id))
  registry.onRemoved(async (project, device, target) => {
    await leases.revokeOf(project, device)
    if (target) await access.targets.forget(target)
  })
  events.subscribe((event) => leases.onEvent(event))
  events.subscribe((event) => {
    // The data of an event is made when it is read: of a tunnel's, a million at once, never here.
    if (SLAVE_CHANGES.has(event.type)) void access.slaveChanged((event.data as { slave: string }).slave)
  })
  await leases.start()
  const answer = access.withUsers(withLeases(leases, askHook))
  const health = new Health({
    limits: {
      memoryMB: settings.healthMemory,
      delayMs: settings.healthDelay,
      queue: settings.healthQueue,
    },
    queue: () => leases.backlog,
  })
  undo.push(() => health.close())
  undo.push(() => cluster.close())
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
    config: {
      master: master.id,
      version,
      trustProxy: settings.trustProxy,
      connectRate: settings.connectRate,
      connectBurst: settings.connectBurst,
      connectToken: settings.connectToken,
      metricsToken: settings.metricsToken,
    },
    log,
    ready: () => ready,
    https: readTls(settings),
  })
  undo.push(async () => api.close())
  const links = new LinkServer({
    cluster,
    authenticate: async (bearer) => {
      const principal = await tokens.check(bearer)
      return principal && mayActAs(principal.role, 'slave') ? principal.tokenId : undefined
    },
    addressOf: addressBehindProxies(settings.trustProxy),
  })
  tokens.onRevoked((token, elsewhere) => {
    links.revoked(token)
    if (!elsewhere) feed.publish({ type: 'revoked', token })
  })
  api.server.on('upgrade', (request, socket, head) => links.upgrade(request, socket, head))
  await cluster.start()
  await listen(api, settings)
  undo.push(() => links.close())
  const { address, port } = api.server.address() as AddressInfo
  master.place = { hosts: hostsOf(address), ports: [onePort(port)] }
  const url = `${settings.tlsCert === undefined ? 'http' : 'https'}://${formatHostPort(reachable(address), port)}`
  let linkUrl = url
  if (localLink && settings.tlsCert !== undefined) {
    const local = createServer((request, response) => api.routing(request, response))
    local.on('upgrade', (request, socket, head) => links.upgrade(request, socket, head))
    await new Promise<void>((resolve) => local.listen(0, '127.0.0.1', resolve))
    linkUrl = `http://127.0.0.1:${(local.address() as AddressInfo).port}`
    undo.push(() => {
      local.close()
      local.closeAllConnections()
    })
  }
  ready = true
  log.info({ url, store: store.id, hook: hook.name, version }, 'master ready')

  let closing: Promise<void> | undefined
  async function close(): Promise<void> {
    ready = false
    await undoAll(undo)
    log.info('master stopped')
  }

  return {
    url,
    linkUrl,
    dataDir: settings.data,
    adminTokenFile: tokenFiles.admin.path,
    slaveTokenFile: tokenFiles.slave.path,
    slaveToken: readFileSync(tokenFiles.slave.path, 'utf8').trim(),
    close: () => (closing ??= close()),
    async reload() {
      try {
        const tls = readTls(settings)
        // Read by each new connection to Redis; here only so that a file that cannot be read is said now.
        const redis = redisAccess(settings)
        if (redis) readRedisTls(redis.address, redis.tls ?? {})
        if (tls) (api.server as unknown as TlsServer).setSecureContext(tls)
        await hook.reload()
        log.info('TLS files and hook read again')
      } catch (error) {
        log.error({ err: error }, 'reload failed; what was in force stays')
      }
    },
  }
}

/** Alone with the embedded store; with Redis, one of several. */
async function openFeed(
  settings: MasterSettings,
  master: { id: string; version: string; place?: Place },
  log: Log,
): Promise<ClusterFeed> {
  const access = redisAccess(settings)
  if (!access) return new SoloFeed()
  const [{ RedisFeed }, { makeRedisClient }] = await Promise.all([
    import('./cluster/feed/redis-feed.ts'),
    import('./store/redis-connection.ts'),
  ])
  return new RedisFeed({ master, prefix: settings.redisPrefix, connect: () => makeRedisClient(access), log })
}

/** After these the visits of a slave may have ended with it. */
const SLAVE_CHANGES = new Set(['slave.lost', 'slave.ready', 'slave.synced'])

/** Refusals that concern no device have events of their own. */
const REFUSED_EVENTS: Record<string, string> = { NEGOTIATION_FAILED: 'connection.negotiation-failed' }

function shownKey(refusal: { username?: string | undefined }): object {
  return refusal.username === undefined ? {} : { username: refusal.username }
}

function checkSettings(settings: MasterSettings): void {
  const problems: string[] = []
  if ((settings.tlsCert === undefined) !== (settings.tlsKey === undefined))
    problems.push('--tls-cert and --tls-key go together')
  const safe = settings.tlsCert !== undefined || settings.insecureHttp || settings.trustProxy.length > 0
  const { host, port } = settings.listen
  if (!safe && !isLoopback(host))
    problems.push(
      `--listen ${formatHostPort(host, port)} is not loopback: give --tls-cert and --tls-key, name a --trust-proxy, or say --insecure-http`,
    )
  if (problems.length > 0)
    throw new SshoalError('INVALID_CONFIG', problems.join('\n'), { details: { problems } })
}
