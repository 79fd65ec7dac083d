import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import {
  AddressSet,
  formatHostPort,
  isLoopback,
  parseHostPort,
  plainAddress,
  sourceOf,
} from '../src/address.ts'
import { SshoalError } from '../src/sshoal-error.ts'

const octet = fc.nat({ max: 255 })
const ipv4 = fc.tuple(octet, octet, octet, octet).map((parts) => parts.join('.'))

describe('host and port', () => {
  test.each([
    ['127.0.0.1:8080', '127.0.0.1', 8_080],
    ['[::1]:22', '::1', 22],
    [':2222', '::', 2_222],
    ['example.org:0', 'example.org', 0],
    ['h:65535', 'h', 65_535],
  ])('%j is read', (text, host, port) => {
    expect(parseHostPort(text)).toEqual({ host, port })
  })

  test.each(['', 'host', 'host:', 'h:65536', 'h:1:2', '::1:22', '[::1]', '[h]:1', '[]:1', 'h:-1', 'h: 1'])(
    '%j is refused',
    (text) => {
      expect(() => parseHostPort(text)).toThrow(expect.objectContaining({ code: 'INVALID_ADDRESS' }))
    },
  )

  test('what is formatted is read back', () => {
    const host = fc.oneof(ipv4, fc.ipV6(), fc.domain())
    fc.assert(
      fc.property(host, fc.nat({ max: 65_535 }), (host, port) => {
        expect(parseHostPort(formatHostPort(host, port))).toEqual({ host, port })
      }),
    )
  })

  test('any text is read or refused, never another error', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseHostPort(text)
        } catch (error) {
          expect(error).toBeInstanceOf(SshoalError)
        }
      }),
    )
  })
})

describe('one address', () => {
  test('an IPv4-mapped address means the IPv4 address', () => {
    expect(plainAddress('::ffff:192.0.2.1')).toBe('192.0.2.1')
    expect(plainAddress('::FFFF:192.0.2.1')).toBe('192.0.2.1')
    expect(plainAddress('2001:db8::1')).toBe('2001:db8::1')
  })

  test.each(['127.0.0.1', '127.255.0.3', '::1', '::ffff:127.0.0.1', 'localhost'])(
    '%s is loopback',
    (host) => {
      expect(isLoopback(host)).toBe(true)
    },
  )

  test.each(['128.0.0.1', '10.0.0.1', '127.example.org', '127.0.0.1.nip.io', '::', '0.0.0.0', ''])(
    '%s is not loopback',
    (host) => {
      expect(isLoopback(host)).toBe(false)
    },
  )
})

describe('a set of addresses', () => {
  test('an empty set contains nothing', () => {
    expect(new AddressSet([]).has('127.0.0.1')).toBe(false)
  })

  test('a block contains its ends and nothing beyond', () => {
    const set = new AddressSet(['192.0.2.0/25', '2001:db8::/32', '10.0.0.7'])
    for (const inside of ['192.0.2.0', '192.0.2.127', '2001:db8:ffff::1', '10.0.0.7', '::ffff:10.0.0.7'])
      expect(set.has(inside), inside).toBe(true)
    for (const outside of ['192.0.2.128', '192.0.1.255', '2001:db9::', '10.0.0.8', 'localhost', '', 'x'])
      expect(set.has(outside), outside).toBe(false)
  })

  test('IPv4 blocks say nothing about IPv6 addresses', () => {
    expect(new AddressSet(['0.0.0.0/0']).has('2001:db8::1')).toBe(false)
  })

  test('a link-local address with its interface is looked up without an error', () => {
    expect(new AddressSet(['fe80::/10']).has('fe80::1%eth0')).toBe(true)
  })

  test.each([
    '',
    'x',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/1e1',
    '10.0.0.0/0x8',
    '10.0.0.0/ 8',
    '::/129',
    '::/',
    '10.0.0/8',
    'example.org/8',
  ])('%j is refused, so that a slip of the pen never trusts everybody', (cidr) => {
    expect(() => new AddressSet([cidr])).toThrow(expect.objectContaining({ code: 'INVALID_CIDR' }))
    expect(() => AddressSet.check(cidr)).toThrow(expect.objectContaining({ code: 'INVALID_CIDR' }))
  })

  test('an IPv4 address is in a block exactly when its first bits are the block’s', () => {
    const bitsOf = (text: string): number =>
      text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
    fc.assert(
      fc.property(ipv4, ipv4, fc.nat({ max: 32 }), (block, address, prefix) => {
        const size = 2 ** (32 - prefix)
        const same = Math.floor(bitsOf(block) / size) === Math.floor(bitsOf(address) / size)
        const set = new AddressSet([`${block}/${prefix}`])
        expect(set.has(address)).toBe(same)
        expect(set.has(`::ffff:${address}`)).toBe(same)
      }),
    )
  })
})

test('a source is an IPv4 address, and a /64 of IPv6', () => {
  expect(sourceOf('::ffff:192.0.2.1')).toBe(sourceOf('192.0.2.1'))
  expect(sourceOf('2001:db8:1:2::1')).toBe(sourceOf('2001:0db8:1:2:ffff::'))
  expect(sourceOf('2001:db8:1:2::1')).not.toBe(sourceOf('2001:db8:1:3::1'))
  expect(sourceOf('fe80::1%eth0')).toBe(sourceOf('fe80::2%eth0'))
  expect(sourceOf('::1')).toBe('0:0:0:0::/64')
})
