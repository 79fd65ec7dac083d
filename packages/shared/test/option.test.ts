import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { option } from '../src/option.ts'
import { SshoalError } from '../src/sshoal-error.ts'

describe('what a value may be', () => {
  test('a port range includes both ends', () => {
    const range = option.portRange({ describe: 'd', fallback: '20000-25000' })
    expect(range.fallback).toEqual({ first: 20_000, last: 25_000 })
    expect(range.read(['1-65535'])).toEqual({ first: 1, last: 65_535 })
    for (const text of ['0-5', '5-4', '1-65536', '5', '1-2-3', 'a-b', '-1-2', ''])
      expect(() => range.read([text]), text).toThrow(SshoalError)
  })

  test('a URL loses the slashes at its end and keeps its path', () => {
    const url = option.url({ describe: 'd', protocols: ['http:'], fallback: 'http://a' })
    expect(url.read(['http://b:1/path//'])).toBe('http://b:1/path')
    expect(() => url.read(['https://b'])).toThrow('http://')
  })

  test('a switch that is named is on; it can be said to be off', () => {
    const toggle = option.toggle({ describe: 'd' })
    expect([['true'], ['1'], [], ['false'], ['0']].map((texts) => toggle.read(texts))).toEqual([
      true,
      true,
      true,
      false,
      false,
    ])
  })

  test('CIDR blocks are checked one by one and kept as they are written', () => {
    const cidrs = option.cidrs({ describe: 'd' })
    expect(cidrs.read(['10.0.0.0/8, ::1'])).toEqual(['10.0.0.0/8', '::1'])
    expect(() => cidrs.read(['10.0.0.0/8', '10.0.0.0/'])).toThrow(
      expect.objectContaining({ code: 'INVALID_CIDR' }),
    )
  })

  test('a secret has no default and is never shown', () => {
    expect(option.secret({ describe: 'd' })).toMatchObject({
      secret: true,
      shown: undefined,
      fallback: undefined,
    })
  })
})

const builders = {
  integer: option.integer({ describe: 'd', minimum: -5, maximum: 70_000, fallback: 3 }),
  duration: option.duration({ describe: 'd', fallback: '2.5s' }),
  address: option.address({ describe: 'd', fallback: '127.0.0.1:8080' }),
  addresses: option.addresses({ describe: 'd', fallback: ['[::]:2222', ':0'] }),
  portRange: option.portRange({ describe: 'd', fallback: '1-2' }),
  url: option.url({ describe: 'd', protocols: ['http:'], fallback: 'http://h' }),
  choice: option.choice({ describe: 'd', values: ['a', 'b'], fallback: 'b' }),
}

test.each(Object.entries(builders))('%s: the default that is shown reads as the default', (_, built) => {
  expect(built.read([built.shown ?? ''])).toEqual(built.fallback)
})

test('any text is a value or a coded error', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.values(builders)),
      fc.array(fc.string(), { maxLength: 3 }),
      (built, texts) => {
        try {
          built.read(texts)
        } catch (error) {
          expect(error).toBeInstanceOf(SshoalError)
        }
      },
    ),
  )
})
