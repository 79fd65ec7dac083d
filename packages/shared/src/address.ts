// Addresses: `host:port` as flags write them, IP addresses, CIDR blocks. Knows nothing of who uses them.
import { BlockList, isIP } from 'node:net'

import { SshoalError } from './sshoal-error.ts'

export interface HostPort {
  host: string
  port: number
}

/** `host:port`, `[::1]:port` or `:port` (all addresses). Throws INVALID_ADDRESS. */
export function parseHostPort(text: string): HostPort {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2] ?? ''
  if (!match || port > 65_535 || (match[1] !== undefined && isIP(match[1]) !== 6))
    throw new SshoalError('INVALID_ADDRESS', `"${text}" is not an address: write host:port, or [IPv6]:port`)
  return { host: host === '' ? '::' : host, port }
}

/** The inverse of `parseHostPort`; IPv6 addresses get their brackets. */
export function formatHostPort(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}

/** IPv4-mapped IPv6 (`::ffff:192.0.2.1`, RFC 4291 §2.5.5.2) as the IPv4 address it means; anything else unchanged. */
export function plainAddress(address: string): string {
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(address) ? address.slice(7) : address
}

/** True for 127.0.0.0/8, ::1, `localhost` and IPv4-mapped loopback. */
export function isLoopback(host: string): boolean {
  const plain = plainAddress(host)
  return plain === 'localhost' || plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'))
}

/** Who counts as one source in limits: an IPv4 address, or the /64 of an IPv6 address, which is what one site gets. */
export function sourceOf(address: string): string {
  const plain = plainAddress(address)
  if (isIP(plain) !== 6) return plain
  const [head = '', tail] = (plain.split('%', 1)[0] ?? '').split('::')
  const before = head === '' ? [] : head.split(':')
  const behind = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - behind.length)
  const groups = [...before, ...Array.from({ length: zeros }, () => '0'), ...behind]
  const network = groups.slice(0, 4).map((group) => parseInt(group, 16).toString(16))
  return `${network.join(':')}::/64`
}

/** A set of addresses from CIDR blocks or single addresses; an empty set contains nothing. */
export class AddressSet {
  readonly #blocks = new BlockList()
  readonly size: number

  /** Throws INVALID_CIDR. */
  constructor(cidrs: readonly string[]) {
    this.size = cidrs.length
    for (const cidr of cidrs) this.#add(cidr)
  }

  /** Throws INVALID_CIDR where `cidr` is not one. */
  static check(cidr: string): void {
    void new AddressSet([cidr]).size
  }

  has(address: string): boolean {
    if (this.size === 0) return false
    const plain = plainAddress(address)
    const family = isIP(plain)
    return family !== 0 && this.#blocks.check(plain, family === 6 ? 'ipv6' : 'ipv4')
  }

  #add(cidr: string): void {
    const [address = '', prefix, extra] = cidr.split('/')
    const family = isIP(address)
    const most = family === 6 ? 128 : 32
    const bits = prefix === undefined ? most : Number(prefix)
    // The text is checked, not the number: "10.0.0.0/" must not become /0, which is everybody.
    if (family === 0 || extra !== undefined || !/^\d{1,3}$/.test(prefix ?? '0') || bits > most)
      throw new SshoalError(
        'INVALID_CIDR',
        `"${cidr}" is not a CIDR block: write 192.0.2.0/24 or 2001:db8::/32`,
      )
    this.#blocks.addSubnet(address, bits, family === 6 ? 'ipv6' : 'ipv4')
  }
}
