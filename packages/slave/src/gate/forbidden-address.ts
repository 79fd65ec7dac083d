// Addresses that no visit is ever dialled to, whatever `--dial` says: this machine, the link, nobody in particular, many at
// once; also where an IPv6 address only wraps such an IPv4 address. Pure.
import { isIPv4, isIPv6 } from 'node:net'

import { AddressSet } from '@sshoal/shared'

const NEVER = new AddressSet([
  '0.0.0.0/8', // this network (RFC 1122 §3.2.1.3); Linux dials 0.0.0.0 as loopback
  '127.0.0.0/8',
  '169.254.0.0/16', // link-local, and where clouds keep their secrets
  '224.0.0.0/4',
  '240.0.0.0/4', // reserved, and broadcast
  '::/128',
  '::1/128',
  'fe80::/10',
  'fec0::/10', // site-local, deprecated (RFC 3879)
  'ff00::/8',
])

/** Prefixes of 96 bits (12 bytes) before an IPv4 address. */
const WRAPPERS = [
  '00000000000000000000ffff', // IPv4-mapped (RFC 4291 §2.5.5.2)
  '000000000000000000000000', // IPv4-compatible (§2.5.5.1)
  '0000000000000000ffff0000', // IPv4-translated (RFC 2765)
  '0064ff9b0000000000000000', // NAT64 (RFC 6052)
]

/** True for anything that is no address, too. */
export function isForbidden(address: string): boolean {
  if (isIPv4(address)) return NEVER.has(address)
  // A scope means a link.
  if (!isIPv6(address) || address.includes('%')) return true
  if (NEVER.has(address)) return true
  return wrappedIn(bytesOf(address)).some((inner) => NEVER.has(inner))
}

/** The IPv4 address that an IPv6 address stands for, in any notation; the address itself where it stands for none. */
export function canonicalAddress(address: string): string {
  if (!isIPv6(address) || address.includes('%')) return address
  const bytes = bytesOf(address)
  return bytes.toString('hex', 0, 12) === WRAPPERS[0] ? bytes.subarray(12).join('.') : address
}

/** An address and the IPv4 addresses that it leads to where somebody translates on the way. */
export function meantBy(address: string): string[] {
  return isIPv6(address) ? [address, ...wrappedIn(bytesOf(address))] : [address]
}

function wrappedIn(bytes: Buffer): string[] {
  const found: string[] = []
  if (WRAPPERS.includes(bytes.toString('hex', 0, 12))) found.push(bytes.subarray(12).join('.'))
  // 6to4 (RFC 3056) and the local NAT64 prefix with 96 bits (RFC 8215).
  if (bytes.readUInt16BE(0) === 0x2002) found.push(bytes.subarray(2, 6).join('.'))
  if (bytes.toString('hex', 0, 6) === '0064ff9b0001') found.push(bytes.subarray(12).join('.'))
  return found
}

/** The 16 bytes of an IPv6 address in any notation. */
function bytesOf(address: string): Buffer {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address)
  const text = dotted
    ? `${dotted[1]}${hex(Number(dotted[2]), Number(dotted[3]))}:${hex(Number(dotted[4]), Number(dotted[5]))}`
    : address
  const [head = '', tail] = text.split('::')
  const before = head === '' ? [] : head.split(':')
  const behind = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: 8 - before.length - behind.length }, () => '0')
  const bytes = Buffer.alloc(16)
  for (const [index, group] of [...before, ...zeros, ...behind].entries())
    bytes.writeUInt16BE(parseInt(group, 16), 2 * index)
  return bytes
}

function hex(high: number, low: number): string {
  return (high * 256 + low).toString(16)
}
