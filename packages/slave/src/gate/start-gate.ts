// Puts the gate of a slave together and starts its relay: what start-slave.ts needs to know of it, and no more.
import { addressesAmong, lookupAll, onePort, type Hello, type Place } from '@sshoal/shared'

import { gateSocketsFor } from '../descriptors.ts'
import type { SlaveParts } from '../slave-parts.ts'
import { Dialer } from './dialer.ts'
import { GateSockets } from './gate-sockets.ts'
import { GateVisits } from './gate-visits.ts'
import { Gate } from './gate.ts'
import { startRelayListener } from './relay-listener.ts'
import { RelayPool } from './relay-pool.ts'
import { VisitReports } from './visit-reports.ts'

/** How long a slave that stops waits for the audit. */
const TOLD_DEADLINE_MS = 2_000
/** Longer than a master waits for a name. */
const OWN_DEADLINE_MS = 5_000

export interface GateOptions extends Pick<
  SlaveParts,
  'id' | 'settings' | 'capacity' | 'tunnels' | 'keepalive' | 'metrics' | 'link' | 'log'
> {
  /** The limit of open files. */
  descriptors: number
  /** As they are at start; the first one logs in at relays. */
  hostKeys: string[]
  software: string
  /** Where this slave listens for devices, users and status, and where it knows masters, as they are now. */
  ownPlaces(): Place[]
}

export interface RunningGate {
  gate: Gate
  /** What the hello says of it. */
  hello(): Pick<Hello, 'relay' | 'dials'>
  /** A master is there. */
  welcomed(): void
  /** Asks again about visits and relays with these keys (null: all); resolves with how many visits were cut. */
  recheck(fingerprints: readonly string[] | null): Promise<number>
  setHostKeys(privateKeys: string[]): void
  /** Cuts what is left; resolves when its ends have been told. */
  close(): Promise<void>
}

/** Rejects with LISTEN_FAILED. */
export async function startGate(options: GateOptions): Promise<RunningGate> {
  const { settings, metrics, link, keepalive, log, software } = options
  let { hostKeys } = options
  const sockets = new GateSockets(gateSocketsFor(options.descriptors, options.capacity), metrics)
  const reports = new VisitReports({ link, metrics, log })
  const visits = new GateVisits({ id: options.id, link, metrics, log, reports })
  const relays = new RelayPool({
    self: options.id,
    privateKey: () => hostKeys[0] ?? '',
    software,
    keepalive,
    sockets,
    metrics,
    log,
  })
  const dialer = new Dialer({
    rules: settings.dial,
    resolve: lookupAll,
    async own(addresses, port) {
      const places = options.ownPlaces()
      const relay = listener ? places.map(({ hosts }) => ({ hosts, ports: [onePort(listener.port)] })) : []
      const here = await addressesAmong([...places, ...relay], addresses, port, lookupAll)
      const others = addresses.filter((address) => !here.includes(address))
      if (others.length === 0) return here
      const { own } = await link.request('own', { addresses: others, port }, OWN_DEADLINE_MS)
      return [...here, ...own]
    },
  })
  const gate = new Gate({ ...options, visits, relays, sockets, dialer })
  const listener = await startRelayListener({
    settings,
    hostKeys,
    software,
    keepalive,
    sockets,
    metrics,
    link,
    log,
    carry: (visit, whyGone) => gate.carry(visit, whyGone),
  })
  /** All visits are over and a master has heard of it; or none is there, or it takes too long. */
  const told = async (): Promise<void> => {
    const deadline = performance.now() + TOLD_DEADLINE_MS
    while (visits.size + reports.waiting > 0 && link.linked && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 10))
    reports.close()
  }
  const relayHost = settings.relayHost ?? specificHost(settings.relayListen?.host)
  return {
    gate,
    hello: () => ({
      ...(listener && {
        relay: { port: listener.port, ...(relayHost === undefined ? {} : { host: relayHost }) },
      }),
      ...(dialer.dials && { dials: true }),
    }),
    welcomed() {
      reports.flush()
      void reports.remind(visits.standing())
    },
    async recheck(fingerprints) {
      void listener?.recheck(fingerprints)
      return visits.recheck(fingerprints)
    },
    setHostKeys(privateKeys) {
      hostKeys = privateKeys
      listener?.setHostKeys(privateKeys)
    },
    async close() {
      visits.cutAll('the slave stops')
      listener?.close()
      relays.close()
      await told()
    },
  }
}

/** A wildcard is nowhere to connect to. */
function specificHost(host: string | undefined): string | undefined {
  return host === undefined || ['::', '0.0.0.0', ''].includes(host) ? undefined : host
}
