// Where the cluster itself listens, as far as its masters know: slaves, masters, the gates' public names, and the Redis of
// the masters. No visit to a host is ever dialled there, whatever `--dial` of a slave says.
import {
  addressesAmong,
  atMost,
  isLoopback,
  lookupAll,
  onePort,
  type HostPort,
  type OwnQuestion,
  type Place,
  type Resolve,
} from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

import { hostsOf } from '../listening.ts'
import type { Store } from '../store/store.ts'
import type { GateSlave, GateSlaves } from './carriers.ts'
import { GATE, type Gate } from './gate.ts'

export interface OwnPlacesDeps {
  slaves: GateSlaves
  store: Pick<Store, 'scan' | 'places'>
  gateHost: { host: string; port: number | undefined } | undefined
  /** Of every master that is known. */
  masters(): Iterable<Place>
  /** All addresses of a name; asked for one that was asked for lately only then. Default: the resolver of this machine. */
  resolve?: Resolve
}

const PAGE = 500
const RESOLVED_MS = 30_000
const MAX_RESOLVED = 10_000

export class OwnPlaces {
  readonly #deps: OwnPlacesDeps
  /** What a name resolves to: a thousand slaves that share a port are not looked up at every visit. */
  readonly #resolved = new LRUCache<string, Promise<readonly string[]>>({
    ...atMost(MAX_RESOLVED),
    ttl: RESOLVED_MS,
  })

  constructor(deps: OwnPlacesDeps) {
    this.#deps = deps
  }

  /** Those of the addresses that are the cluster's own with this port. Rejects where the store cannot be asked. */
  async among({ addresses, port }: OwnQuestion): Promise<string[]> {
    const { slaves, masters, store } = this.#deps
    const all = [...slaves.all()]
    const places = [
      ...masters(),
      ...(await this.#gates(all)),
      ...all.flatMap(placesOf),
      ...store.places.map(placeOfStore),
    ]
    return addressesAmong(places, addresses, port, (host) => this.#resolve(host))
  }

  /** Names under which balancers and many addresses may stand, of which no slave knows. */
  async #gates(slaves: readonly GateSlave[]): Promise<Place[]> {
    const { store, gateHost } = this.#deps
    const places: Place[] = []
    if (gateHost) {
      const ports =
        gateHost.port === undefined ? slaves.map(({ hello }) => hello.publicPort) : [gateHost.port]
      places.push({ hosts: [gateHost.host], ports: ports.map(onePort) })
    }
    let after: string | undefined
    do {
      const page = await store.scan<Gate>({
        kind: GATE,
        limit: PAGE,
        ...(after === undefined ? {} : { after }),
      })
      for (const { value } of page.records) places.push({ hosts: [value.host], ports: [onePort(value.port)] })
      after = page.next ?? undefined
    } while (after !== undefined)
    return places
  }

  #resolve(host: string): Promise<readonly string[]> {
    const known = this.#resolved.get(host)
    if (known) return known
    const asked = (this.#deps.resolve ?? lookupAll)(host)
    this.#resolved.set(host, asked)
    // A name that could not be looked up once is not forgotten for long.
    asked.catch(() => this.#resolved.delete(host))
    return asked
  }
}

/** All that it listens on, at all of its addresses; and what it is known by outside, where that is somewhere else. */
function placesOf({ hello, seenAddress }: GateSlave): Place[] {
  const { sshPorts, publicHost, publicPort, forwardHost, forwardPorts, relay, statusPort } = hello
  const relayPorts = relay ? [onePort(relay.port)] : []
  const ports = [
    ...[publicPort, ...sshPorts].map(onePort),
    forwardPorts,
    ...relayPorts,
    ...(statusPort === undefined ? [] : [onePort(statusPort)]),
  ]
  const known = [publicHost, forwardHost, relay?.host].flatMap((host) => host ?? [])
  return [{ hosts: [...hello.addresses, seenAddress, ...known], ports }]
}

/** What a master reaches by loopback stands on its machine, and may be reached by all of its addresses. */
function placeOfStore({ host, port }: HostPort): Place {
  return { hosts: isLoopback(host) ? [host, ...hostsOf('::')] : [host], ports: [onePort(port)] }
}
