// Where other slaves hand visits over to this one: an SSH server of its own, with the limits of every other on who is not
// logged in yet, and nothing in common with the ports on which devices and users connect.
import { AddressSet, type Log, type RelayedVisit } from '@sshoal/shared'

import type { Keepalive } from '../keepalive.ts'
import type { SlaveMetrics } from '../metrics.ts'
import type { SlaveSettings } from '../options.ts'
import { Penalties } from '../penalties.ts'
import { Reception } from '../reception.ts'
import type { SlaveParts } from '../slave-parts.ts'
import { startSshListeners } from '../ssh-listeners.ts'
import { createSshServer, type DirectVerdict } from '../ssh2/index.ts'
import { Waiting } from '../startups.ts'
import type { GateSockets } from './gate-sockets.ts'
import { RelayConnection } from './relay-connection.ts'

/** With the doubt of a connection (10 s) a captured slave is out after half a minute. */
const RECHECK_EVERY_MS = 20_000

export interface RelayListenerOptions {
  settings: SlaveSettings
  hostKeys: string[]
  software: string
  keepalive: Keepalive
  sockets: GateSockets
  metrics: SlaveMetrics
  link: SlaveParts['link']
  log: Log
  carry(visit: RelayedVisit, whyGone: () => string | undefined): Promise<DirectVerdict>
}

export interface RelayParts extends RelayListenerOptions {
  waiting: Waiting
  penalties: Penalties
}

export interface RelayListener {
  port: number
  readonly size: number
  /** For connections that come from now on. */
  setHostKeys(privateKeys: string[]): void
  /** Asks again about the peers with these keys (null: all). */
  recheck(fingerprints: readonly string[] | null): Promise<void>
  close(): void
}

/** Undefined where no `--relay-listen` says so. Rejects with LISTEN_FAILED. */
export async function startRelayListener(options: RelayListenerOptions): Promise<RelayListener | undefined> {
  const { settings, metrics, log } = options
  if (!settings.relayListen) return undefined
  const server = createSshServer({
    hostKeys: options.hostKeys,
    algorithms: settings.algorithms,
    software: options.software,
    maxAuthTries: settings.maxAuthTries,
  })
  const waiting = new Waiting(settings.maxStartups, settings.maxSourceStartups)
  const penalties = new Penalties({
    eachMs: settings.penalty,
    thresholdMs: settings.penaltyThreshold,
    mostMs: settings.penaltyMax,
    exempt: new AddressSet(settings.penaltyExempt),
  })
  const parts: RelayParts = { ...options, waiting, penalties }
  const connections = new Set<RelayConnection>()
  const count = (): void => metrics.relayConnections.set({ direction: 'in' }, connections.size)
  const reception = new Reception({
    proxies: new AddressSet([]),
    penalties,
    waiting,
    metrics,
    log,
    onCaller: (socket, caller, head) => {
      const connection = new RelayConnection(parts, caller, () => {
        connections.delete(connection)
        count()
      })
      connections.add(connection)
      count()
      connection.ssh = server.accept(socket, connection, head)
    },
  })
  const listeners = await startSshListeners([settings.relayListen])
  listeners.take((socket) => reception.receive(socket))
  const recheck = async (fingerprints: readonly string[] | null): Promise<void> => {
    const found = [...connections].filter(
      ({ fingerprint }) =>
        fingerprint !== undefined && (fingerprints === null || fingerprints.includes(fingerprint)),
    )
    await Promise.all(found.map((connection) => connection.recheck()))
  }
  const timer = setInterval(() => void recheck(null), RECHECK_EVERY_MS)
  timer.unref()
  return {
    port: listeners.ports[0] ?? 0,
    get size() {
      return connections.size
    },
    setHostKeys: (privateKeys) => server.setHostKeys(privateKeys),
    recheck,
    close() {
      clearInterval(timer)
      listeners.close()
      for (const connection of connections) connection.end({ code: 'DRAINING', reason: 'this slave stops' })
    },
  }
}
