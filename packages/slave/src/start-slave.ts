// Puts a slave together from its parts, starts it and ends it: listen for SSH, meet a master, serve, drain, close.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'

import {
  AddressSet,
  onePort,
  plainAddress,
  SshoalError,
  type AdmitAnswer,
  type AdmitQuestion,
  type Hello,
  type Log,
} from '@sshoal/shared'

import { ClientConnection } from './client-connection.ts'
import { Connections } from './connections.ts'
import { descriptorLimit, effectiveCapacity, socketsFor } from './descriptors.ts'
import { drainTunnels } from './drain.ts'
import { EpochClock } from './epoch.ts'
import { canListen } from './forward.ts'
import { startGate } from './gate/start-gate.ts'
import { loadHostKeys } from './host-keys.ts'
import { Identities } from './identities.ts'
import { Keepalive } from './keepalive.ts'
import { Leases } from './leases.ts'
import { MasterLink, type MasterAccess } from './master-link.ts'
import { SlaveMetrics } from './metrics.ts'
import type { SlaveSettings } from './options.ts'
import { Orders } from './orders.ts'
import { masterPlaces, ownAddresses } from './own-places.ts'
import { Penalties } from './penalties.ts'
import { Ports } from './ports.ts'
import { Reception } from './reception.ts'
import type { SlaveParts } from './slave-parts.ts'
import { startSshListeners } from './ssh-listeners.ts'
import { createSshServer, cryptoInUse, FairTurns, signWithHostKey } from './ssh2/index.ts'
import { Waiting } from './startups.ts'
import { startStatusServer, type StatusServer } from './status-server.ts'
import { Tunnels } from './tunnels.ts'
import { version } from './version.ts'

const STATUS_EVERY_MS = 5_000
/** The master must answer an admission within this; else the slave's own clock decides. */
const ADMIT_DEADLINE_MS = 5_000
/** Longer than a hook's deadline, so that the master's own "outage" arrives first. */
const WHO_DEADLINE_MS = 8_000

export interface SlaveDeps {
  log: Log
  /** Reads the token from where it came, before each link and on reload: it may be rotated. May throw. Default: settings.token. */
  readToken?(): string | undefined
}

export interface Slave {
  id: string
  /** Where devices connect; the real ports, also where 0 was asked for. */
  sshPorts: number[]
  host: string
  statusUrl: string | undefined
  /** Resolves with the first welcome of a master. */
  linked: Promise<void>
  /** Moves the devices away within `drainMs` (default: the setting), says good-bye, closes. Twice is once. */
  close(options?: { drainMs?: number }): Promise<void>
  /** Reads host keys, token and the masters' authority again; what is up keeps its own. Throws where one cannot be read. */
  reload(): Promise<void>
}

/** Rejects with a coded SshoalError: INVALID_CONFIG, HOST_KEY_UNUSABLE or LISTEN_FAILED; then nothing is left running. */
export async function startSlave(settings: SlaveSettings, deps: SlaveDeps): Promise<Slave> {
  const { log: baseLog, readToken } = deps
  if (settings.master.length === 0)
    throw new SshoalError(
      'INVALID_CONFIG',
      '--master: say where the master is, e.g. --master http://127.0.0.1:8080',
    )
  const metrics = new SlaveMetrics()
  const hostKeyFiles = settings.hostKey.length > 0 ? settings.hostKey : [join(settings.data, 'host-key')]
  let hostKeys = loadHostKeys(hostKeyFiles)
  const readAccess = (): MasterAccess => ({
    token: readToken ? readToken() : settings.token,
    ca: settings.masterCa === undefined ? undefined : readFileSync(settings.masterCa, 'utf8'),
  })
  let access = readAccess()
  const startedAt = performance.now()
  const instance = randomUUID()

  const turns = new FairTurns()
  const software = `sshoal_${version}`
  const ssh = createSshServer({
    hostKeys: hostKeys.privateKeys,
    algorithms: settings.algorithms,
    software,
    maxAuthTries: settings.maxAuthTries,
    turns,
  })
  const connections = new Connections(metrics)
  const listeners = await startSshListeners(settings.sshListen)
  const id = settings.id ?? `${hostname()}-${listeners.ports[0]}`
  const log = baseLog.child({ slave: id })
  const ports = new Ports(settings.forwardPorts)
  const descriptors = descriptorLimit()
  const { tunnels: capacity, limit: capacityLimit } = effectiveCapacity({
    wanted: settings.capacity,
    descriptors,
    ports: ports.size,
  })
  if (settings.capacity !== undefined && capacity < settings.capacity)
    log.warn(
      {
        wanted: settings.capacity,
        capacity,
        capacityLimit,
        descriptors: finite(descriptors),
        ports: ports.size,
      },
      'fewer tunnels than --capacity asks for will fit',
    )
  const tunnels = new Tunnels(metrics, log)
  const keepalive = new Keepalive()
  const epochs = new EpochClock()
  const waiting = new Waiting(settings.maxStartups, settings.maxSourceStartups)
  const penalties = new Penalties({
    eachMs: settings.penalty,
    thresholdMs: settings.penaltyThreshold,
    mostMs: settings.penaltyMax,
    // A proxy is nobody's address: what it sends of its own (LOCAL, UNKNOWN) must not shut out all behind it.
    exempt: new AddressSet([...settings.penaltyExempt, ...settings.proxyProtocol]),
  })
  const leases = new Leases({
    ports,
    canListen: (port) => canListen(settings.forwardAddress, port),
    cut: ({ lease, fingerprint }, refusal) => {
      const ended = connections.ofKey(fingerprint).filter(({ device }) => device?.lease === lease)
      for (const connection of ended) connection.end(refusal)
      return ended.length > 0
    },
    draining: () => draining !== undefined || closing !== undefined,
    log,
  })
  const identities = new Identities({
    ask: (question) => link.request('who', question, WHO_DEADLINE_MS),
    leases,
    log,
  })
  let draining: { done: Promise<void>; stop(): void } | undefined
  let closing: Promise<void> | undefined
  let statusPort = settings.statusListen?.port

  const parts: SlaveParts = {
    id,
    settings,
    capacity,
    sockets: socketsFor(descriptors),
    get gate() {
      return gate.gate
    },
    identities,
    leases,
    tunnels,
    ports,
    connections,
    keepalive,
    metrics,
    penalties,
    waiting,
    log,
    link: {
      get linked() {
        return link.linked
      },
      send: (type, body) => link.send(type, body),
      request: (type, question, deadlineMs) => link.request(type, question, deadlineMs),
    },
    get draining() {
      return draining !== undefined
    },
    welcomed: (deadlineMs) => link.welcomedWithin(deadlineMs),
    admit,
  }

  const gate = await startGate({
    id,
    settings,
    capacity,
    tunnels,
    keepalive,
    metrics,
    link: parts.link,
    log,
    descriptors,
    hostKeys: hostKeys.privateKeys,
    software,
    ownPlaces: () => {
      const masters = masterPlaces(settings.master)
      const ports = [
        ...listeners.ports.map(onePort),
        settings.forwardPorts,
        ...(statusPort === undefined ? [] : [onePort(statusPort)]),
      ]
      // A master may run on this machine, and be known here by a loopback address alone.
      return [
        ...masters,
        { hosts: ownAddresses(), ports: [...ports, ...masters.flatMap((one) => one.ports)] },
      ]
    },
  }).catch((error: unknown) => {
    listeners.close()
    leases.close()
    keepalive.close()
    throw error
  })

  async function admit(question: AdmitQuestion): Promise<AdmitAnswer> {
    try {
      return await link.request('admit', question, ADMIT_DEADLINE_MS)
    } catch (error) {
      log.debug({ err: error, device: question.device }, 'admitted by this slave itself')
      return { outcome: 'admitted', epoch: epochs.mint(question.incumbent) }
    }
  }

  function hello(): Omit<Hello, 'protocol' | 'signature' | 'tunnels'> {
    return {
      id,
      instance,
      version,
      ...(settings.publicHost === undefined ? {} : { publicHost: settings.publicHost }),
      publicPort: settings.publicPort ?? listeners.ports[0] ?? 0,
      sshPorts:
        settings.publicPort === undefined ? listeners.ports : [settings.publicPort, ...listeners.ports],
      ...(settings.forwardHost === undefined ? {} : { forwardHost: settings.forwardHost }),
      forwardAddress: settings.forwardAddress,
      forwardPorts: settings.forwardPorts,
      ...(settings.region === undefined ? {} : { region: settings.region }),
      capacity,
      uptimeSeconds: Math.round((performance.now() - startedAt) / 1_000),
      draining: draining !== undefined,
      addresses: ownAddresses().slice(0, 64),
      hostKeys: hostKeys.publicKeys,
      ...gate.hello(),
      ...(statusPort ? { statusPort } : {}),
      ...(orders.invalidation ? { invalidation: orders.invalidation } : {}),
    }
  }

  function startDrain(overMs: number): Promise<void> {
    draining?.stop()
    if (!draining) link.send('draining', { draining: true })
    draining = drainTunnels(tunnels, overMs)
    return draining.done
  }

  const orders = new Orders({
    tunnels,
    identities,
    leases,
    ports,
    connections,
    epochs,
    gate,
    drain: (overMs) => {
      // A slave that stops drains already, and not for as long as somebody may ask now.
      if (closing === undefined) void startDrain(overMs)
    },
  })
  const link = new MasterLink({
    urls: settings.master,
    access: () => {
      try {
        access = readAccess()
      } catch (error) {
        log.warn({ err: error }, 'token or authority cannot be read again; what was read before stays')
      }
      return access
    },
    proxy: settings.proxy,
    hello,
    snapshot: () => tunnels.snapshot(),
    sign: (data) => signWithHostKey(hostKeys.privateKeys[0] ?? '', data),
    onNotice: orders.onNotice,
    onWelcome: orders.onWelcome,
    onRequest: orders.onRequest,
    log,
  })
  tunnels.tell(link)
  const reception = new Reception({
    proxies: new AddressSet(settings.proxyProtocol),
    penalties,
    waiting,
    metrics,
    log,
    onCaller: (socket, caller, head) => {
      const connection = new ClientConnection(parts, caller)
      connections.came(connection)
      turns.belongs(socket, caller.source)
      connection.ssh = ssh.accept(socket, connection, head)
    },
  })
  listeners.take((socket) => {
    turns.arrived()
    reception.receive(socket)
  })

  let lastUsage = performance.eventLoopUtilization()
  const statusTimer = setInterval(() => {
    const usage = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(usage, lastUsage)
    lastUsage = usage
    metrics.linked.set(link.linked ? 1 : 0)
    link.send('status', {
      load: Math.round(utilization * 1_000) / 1_000,
      visits: metrics.visits,
      connections: connections.size,
    })
  }, STATUS_EVERY_MS)

  let statusServer: StatusServer | undefined
  if (settings.statusListen) {
    try {
      statusServer = await startStatusServer(settings.statusListen, {
        registry: metrics.registry,
        ready: () => draining === undefined && closing === undefined,
        health: () => ({
          id,
          version,
          linked: link.linked,
          draining: draining !== undefined,
          tunnels: tunnels.size,
          capacity,
          capacityLimit,
        }),
      })
    } catch (error) {
      listeners.close()
      void gate.close()
      link.close('start failed')
      leases.close()
      clearInterval(statusTimer)
      keepalive.close()
      throw new SshoalError(
        'LISTEN_FAILED',
        `--status-listen: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      )
    }
    statusPort = Number(new URL(statusServer.url).port)
    log.info({ url: statusServer.url }, 'status ready')
  }
  const host = settings.publicHost ?? plainAddress(settings.sshListen[0]?.host ?? '')
  log.info(
    {
      host,
      sshPort: listeners.ports[0],
      capacity,
      capacityLimit,
      descriptors: finite(descriptors),
      crypto: cryptoInUse(),
      forwardPorts: settings.forwardPorts,
    },
    'slave ready',
  )

  async function close(drainMs: number): Promise<void> {
    if (tunnels.size > 0) await startDrain(drainMs)
    listeners.close()
    clearInterval(statusTimer)
    await gate.close()
    link.close('the slave stops')
    await connections.endAll({ code: 'DRAINING', reason: 'this slave stops; ask the master for another' })
    keepalive.close()
    leases.close()
    await statusServer?.close()
    log.info('slave stopped')
  }

  return {
    id,
    sshPorts: listeners.ports,
    host,
    statusUrl: statusServer?.url,
    linked: link.firstWelcome,
    close: ({ drainMs = settings.drainTimeout } = {}) => (closing ??= close(drainMs)),
    reload: () => {
      // The next link takes what is in the files then; here only so that what cannot be read is said now.
      readAccess()
      hostKeys = loadHostKeys(hostKeyFiles)
      ssh.setHostKeys(hostKeys.privateKeys)
      gate.setHostKeys(hostKeys.privateKeys)
      log.info('host keys, token and authority read again')
      return Promise.resolve()
    },
  }
}

/** JSON has no Infinity. */
function finite(limit: number): number | 'unlimited' {
  return limit === Infinity ? 'unlimited' : limit
}
