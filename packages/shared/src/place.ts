// Where something of the cluster listens: hosts and ports. Answers which of some addresses are such a place; looks names up
// by the function it is given, and knows nothing of who listens there.
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'

import { AddressSet } from './address.ts'
import type { PortRange } from './option.ts'

export interface Place {
  /** Names and addresses; a name stands for all that it resolves to now. */
  hosts: readonly string[]
  ports: readonly PortRange[]
}

/** All addresses of a name; may reject. */
export type Resolve = (host: string) => Promise<readonly string[]>

/** By the resolver of this machine. */
export const lookupAll: Resolve = async (host) =>
  (await lookup(host, { all: true, verbatim: true })).map(({ address }) => address)

export function onePort(port: number): PortRange {
  return { first: port, last: port }
}

/** Those of `addresses` that are one of the places with this port, in any notation. Never rejects: a name that leads nowhere is no place. */
export async function addressesAmong(
  places: Iterable<Place>,
  addresses: readonly string[],
  port: number,
  resolve: Resolve,
): Promise<string[]> {
  const hosts = new Set<string>()
  for (const place of places)
    if (place.ports.some(({ first, last }) => port >= first && port <= last))
      for (const host of place.hosts) hosts.add(host)
  const own: string[] = []
  const names: string[] = []
  // A scope only says by which interface: the address is the same.
  for (const host of hosts) (isIP(host) === 0 ? names : own).push(host.split('%', 1)[0] ?? host)
  const resolved = await Promise.all(names.map((name) => resolve(name).catch(() => [])))
  for (const address of resolved.flat())
    if (isIP(address) !== 0) own.push(address.split('%', 1)[0] ?? address)
  const set = new AddressSet(own)
  return addresses.filter((address) => set.has(address))
}
