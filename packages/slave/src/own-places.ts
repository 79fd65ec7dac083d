// Where this machine and its master are, as far as a slave can see: for its hello, and for what is no host for visits.
import { networkInterfaces } from 'node:os'

import { isLoopback, onePort, type Place } from '@sshoal/shared'

/** By the names that this slave was told. */
export function masterPlaces(urls: readonly string[]): Place[] {
  return urls.map((text) => {
    const { hostname, port, protocol } = new URL(text)
    const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port)
    return { hosts: [hostname.replace(/^\[(.*)\]$/, '$1')], ports: [onePort(number)] }
  })
}

/** T027: all addresses of this machine that are not loopback or link-local; also those of services that stand on `lo`. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ address }) => !isLoopback(address) && !/^fe80:/i.test(address))
    .map(({ address }) => address)
}
