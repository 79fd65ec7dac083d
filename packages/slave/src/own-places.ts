// Where this machine and its master are, as far as a slave can see: for its hello, and for what is no host for visits.
import { networkInterfaces } from 'node:os'

import type { PortRange } from '@sshoal/shared'

/** A master on this machine is no host for visits, whoever else may reach it. */
export function masterPorts(urls: readonly string[]): PortRange[] {
  return urls.map((text) => {
    const { port, protocol } = new URL(text)
    const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port)
    return { first: number, last: number }
  })
}

/** T027: all addresses of this machine that are not loopback or link-local. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && !/^fe80:/i.test(address))
    .map(({ address }) => address)
}
