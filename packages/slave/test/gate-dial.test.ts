import { lookup } from 'node:dns/promises'
import { isIPv4 } from 'node:net'

import { AddressSet } from '@sshoal/shared'
import { array, assert, boolean, constantFrom, integer, ipV4, ipV6, oneof, property, tuple } from 'fast-check'
import { describe, expect, test } from 'vitest'

import { dialOption, mayDial, parseDialRule } from '../src/gate/dial-rules.ts'
import { Dialer } from '../src/gate/dialer.ts'
import { canonicalAddress, isForbidden, meantBy } from '../src/gate/forbidden-address.ts'

const port = integer({ min: 1, max: 65_535 })
const shown = (texts: string[]) =>
  dialOption.read(texts).map(({ cidr, ports }) => [cidr, ports?.map(({ first, last }) => [first, last])])

describe('--dial', () => {
  test('takes blocks with and without ports, several at once, from a flag and with commas', () => {
    expect(shown(['10.0.0.0/8'])).toEqual([['10.0.0.0/8', undefined]])
    expect(
      shown(['10.0.0.0/8:22,8000-8999,192.0.2.7', ' [fd00::/8]:22,80-90 ', 'fd01::/16', '[fd02::/16]']),
    ).toEqual([
      [
        '10.0.0.0/8',
        [
          [22, 22],
          [8_000, 8_999],
        ],
      ],
      ['192.0.2.7', undefined],
      [
        'fd00::/8',
        [
          [22, 22],
          [80, 90],
        ],
      ],
      ['fd01::/16', undefined],
      ['fd02::/16', undefined],
    ])
  })

  test('refuses what is neither', () => {
    for (const text of [
      '22',
      '10.0.0.0/8:',
      '10.0.0.0/8:0',
      '10.0.0.0/8:65536',
      '10.0.0.0/8:90-80',
      '10.0.0.0/8:22:23',
      '10.0.0.0/',
      '10.0.0.0/33',
      '10.0.0/8',
      'example.com:22',
      '[10.0.0.0/8]:22',
      '[fd00::/8',
      'fd00::/8]:22',
      '*',
      '::/0x',
    ])
      expect(() => parseDialRule(text), text).toThrow()
  })

  test('what was written is what may be dialled, and nothing else', () => {
    const range = tuple(port, port).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }))
    const block = oneof(
      tuple(ipV4(), integer({ min: 0, max: 32 })),
      tuple(ipV6(), integer({ min: 0, max: 128 })),
    ).map(([address, bits]) => `${address}/${bits}`)
    assert(
      property(
        block,
        array(range, { maxLength: 3 }),
        oneof(ipV4(), ipV6()),
        port,
        (cidr, ranges, address, at) => {
          const ports = ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`))
          const bracketed = cidr.includes(':') ? `[${cidr}]` : cidr
          const rules = dialOption.read([ports.length > 0 ? `${bracketed}:${ports.join(',')}` : bracketed])
          expect(mayDial(rules, address, at)).toBe(
            new AddressSet([cidr]).has(address) &&
              (ranges.length === 0 || ranges.some(({ first, last }) => at >= first && at <= last)),
          )
        },
      ),
    )
  })
})

describe('an address', () => {
  const forbidden = [
    '127.0.0.1',
    '127.255.255.254',
    '0.0.0.0',
    '0.1.2.3',
    '169.254.169.254',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '0:0:0:0:0:0:0:0',
    '::1',
    '0:0:0:0:0:0:0:1',
    'fe80::1',
    'FE80::1',
    'febf::1',
    'fe80::1%eth0',
    'fd00::1%eth0',
    'ff02::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '0:0:0:0:0:ffff:7f00:0001',
    '::127.0.0.1',
    '::ffff:0:127.0.0.1',
    '64:ff9b::127.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b::169.254.169.254',
    '64:ff9b:1::127.0.0.1',
    '2002:7f00:1::1',
    '2002:a9fe:a9fe::',
    'localhost',
    '',
    '2130706433',
  ]
  for (const address of forbidden)
    test(`${address === '' ? '(none)' : address} is never dialled`, () => {
      expect(isForbidden(address)).toBe(true)
    })

  test('of a host is not forbidden, however it is written', () => {
    for (const address of [
      '10.0.0.1',
      '192.168.1.1',
      '1.1.1.1',
      'fd00::1',
      '2001:db8::1',
      '::ffff:10.0.0.1',
      '64:ff9b::10.0.0.1',
    ])
      expect(isForbidden(address), address).toBe(false)
  })

  test('that wraps an IPv4 address is forbidden if that is, in every notation', () => {
    const dotted = (v4: string): string => v4
    const hex = (v4: string): string => {
      const [a = 0, b = 0, c = 0, d = 0] = v4.split('.').map(Number)
      return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
    }
    assert(
      property(
        ipV4(),
        constantFrom('::ffff:', '0:0:0:0:0:ffff:', '::FFFF:', '64:ff9b::', '64:FF9B:0:0:0:0:'),
        boolean(),
        (v4, prefix, asHex) => {
          const wrapped = `${prefix}${(asHex ? hex : dotted)(v4)}`
          expect(isForbidden(wrapped)).toBe(isForbidden(v4))
          if (/ffff:$/i.test(prefix)) expect(canonicalAddress(wrapped)).toBe(v4)
        },
      ),
    )
  })

  test('keeps being itself otherwise', () => {
    assert(
      property(oneof(ipV4(), ipV6()), (address) => {
        const canonical = canonicalAddress(address)
        expect(canonical === address || isIPv4(canonical)).toBe(true)
      }),
    )
  })
})

describe('a slave that dials', () => {
  const dialer = (rules: string[], resolved: string[], own: string[] = []) => {
    const asked: string[] = []
    return {
      asked,
      dialer: new Dialer({
        rules: dialOption.read(rules),
        own: (addresses) => Promise.resolve(addresses.filter((address) => own.includes(address))),
        resolve: (host) => {
          asked.push(host)
          return Promise.resolve(resolved)
        },
      }),
    }
  }

  test('judges what a name resolves to, not the name', async () => {
    for (const address of ['127.0.0.1', '::ffff:127.0.0.1', '169.254.169.254', '192.0.2.1']) {
      const { dialer: it, asked } = dialer(['10.0.0.0/8'], [address])
      expect(await it.dial('innocent.example', 22), address).toEqual({ outcome: 'forbidden' })
      expect(asked).toEqual(['innocent.example'])
    }
  })

  test('dials nothing, and asks no resolver, where no rule was given', async () => {
    const { dialer: it, asked } = dialer([], ['10.0.0.1'])
    expect(it.dials).toBe(false)
    expect(await it.dial('10.0.0.1', 22)).toEqual({ outcome: 'forbidden' })
    expect(asked).toEqual([])
  })

  test('forms that only the resolver understands are loopback all the same', async () => {
    const it = new Dialer({
      rules: dialOption.read(['0.0.0.0/0', '::/0']),
      own: () => Promise.resolve([]),
      resolve: async (host) => (await lookup(host, { all: true })).map(({ address }) => address),
    })
    for (const host of ['2130706433', '0x7f.1', '0177.0.0.1', '127.1', 'localhost', '0', '0.0.0.0', '[::1]'])
      expect((await it.dial(host, 22)).outcome, host).not.toBe('connected')
  })

  test('never dials what is the cluster’s own, nor what leads there by translation', async () => {
    const own = ['198.51.100.7', '2001:db8::7']
    for (const address of [
      '198.51.100.7',
      '::ffff:198.51.100.7',
      '64:ff9b::198.51.100.7',
      '2002:c633:6407::1',
      '2001:db8::7',
    ]) {
      const { dialer: it } = dialer(['0.0.0.0/0', '::/0'], [address], own)
      expect(await it.dial('host', 2_222), address).toEqual({ outcome: 'forbidden' })
    }
    expect(meantBy('64:ff9b::198.51.100.7')).toContain('198.51.100.7')
  })

  test('dials nothing while nobody can say what is the cluster’s own', async () => {
    const it = new Dialer({
      rules: dialOption.read(['0.0.0.0/0']),
      resolve: () => Promise.resolve(['198.51.100.7']),
      own: () => Promise.reject(new Error('no master is linked')),
    })
    expect(await it.dial('host', 22)).toEqual({
      outcome: 'failed',
      reason: 'it cannot be checked right now whether it may be dialled',
    })
  })
})
