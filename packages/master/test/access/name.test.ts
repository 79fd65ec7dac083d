import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { isName, isUuid, readAsked, readHost, readName } from '../../src/access/name.ts'
import { deviceNames, makeDeviceTarget } from '../../src/access/target.ts'
import { loginOf, readEmail, readLogin } from '../../src/access/user.ts'
import { anyCharacter } from '../any-character.ts'

const HOSTILE = [
  'a\nHost *',
  'a b',
  'a"b',
  "a'b",
  'a%h',
  'a$HOME',
  '${x}',
  '-oProxyCommand=x',
  '*',
  '?',
  '!a',
  'a#b',
  'a;b',
  'a`b`',
  'ä',
  '',
  'a'.repeat(64),
  'a.b',
]

describe('a name', () => {
  test.each(HOSTILE)('G038: is not %j', (text) => {
    expect(() => readName(text, 'target')).toThrowError(expect.objectContaining({ code: 'INVALID_NAME' }))
  })

  test('G038: whatever is taken stands alone in a line, a shell and a pattern', () => {
    fc.assert(
      fc.property(fc.string({ unit: anyCharacter, maxLength: 70 }), (text) => {
        try {
          expect(readName(text, 'pool')).toMatch(/^[a-z0-9][a-z0-9-]{0,62}$/)
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_NAME' })
        }
      }),
    )
  })

  test('is compared without case, and does not look like a UUID', () => {
    expect(readName('Pump-1', 'target')).toBe('pump-1')
    expect(() => readName('0b7f6f0e-6f0c-4c43-8d4e-6a1d8a8d8a10', 'target')).toThrow(/UUID/)
  })
})

describe('the names of a device’s target', () => {
  test('whatever the device is called, each is a name, and the same again; the id itself comes first where it is one', () => {
    fc.assert(
      fc.property(fc.string({ unit: anyCharacter, minLength: 1, maxLength: 128 }), (device) => {
        const names = [...deviceNames('default', device)]
        expect(names.every(isName)).toBe(true)
        expect(names).toEqual([...deviceNames('default', device)])
        expect(new Set(names).size).toBe(names.length)
        expect(names.length).toBeGreaterThanOrEqual(3)
        if (isName(device.toLowerCase())) expect(names[0]).toBe(device.toLowerCase())
      }),
    )
    expect([...deviceNames('default', 'AA:BB')][0]).toMatch(/^aa-bb-[0-9a-f]{8}$/)
  })

  test('G015: a device whose id is a UUID has that one; any other gets one that is no other’s', () => {
    const id = '0b7f6f0e-6f0c-4c43-8d4e-6a1d8a8d8a10'
    expect(makeDeviceTarget('default', id.toUpperCase(), id, 0).uuid).toBe(id)
    const [first, second] = [1, 2].map(() => makeDeviceTarget('default', 'pump-1', 'pump-1', 0))
    expect(isUuid(first?.uuid ?? '')).toBe(true)
    expect(first?.uuid).not.toBe(second?.uuid)
  })
})

describe('what a client writes', () => {
  test('is TARGET or NAME.TARGET, in any case', () => {
    expect(readAsked('Pump-1')).toEqual({ target: 'pump-1', forward: undefined })
    expect(readAsked('Web.pump-1')).toEqual({ target: 'pump-1', forward: 'web' })
    for (const text of ['', '.', 'a.b.c', '.a', 'a.', 'a_b', 'we b.a', '127.0.0.1', '::1'])
      expect(readAsked(text) === undefined || text === '').toBe(true)
  })
})

describe('a host', () => {
  test.each(['10.0.0.1', 'fd00::1', 'db.internal', 'a-b.c'])('may be %s', (text) => {
    expect(readHost(text)).toBe(text)
  })
  test.each([
    ...HOSTILE.filter((text) => text !== 'a.b' && text !== 'a'.repeat(64)),
    'a..b',
    '[::1]',
    'a:22',
    ':::',
  ])('G038 P096: is not %j', (text) => {
    expect(() => readHost(text)).toThrowError(expect.objectContaining({ code: 'INVALID_ADDRESS' }))
  })
})

describe('a person’s login and e-mail', () => {
  test('a login is what stands before the @, as far as it can be one', () => {
    expect(loginOf('Ann.Lee@example.com')).toBe('ann.lee')
    expect(loginOf('ann+x@example.com')).toBe('ann-x')
    expect(loginOf('.ann@example.com')).toBe('ann')
    expect(loginOf('+@example.com')).toBe('user')
  })
  test.each(HOSTILE.filter((text) => text !== 'a.b'))('G038: %j is no login', (text) => {
    expect(() => readLogin(text)).toThrowError(expect.objectContaining({ code: 'INVALID_LOGIN' }))
  })
  test.each(
    ['ann', '@example.com', 'a@b@c', 'a b@c', 'a\n@c', '"a"@c', 'a@-', 'a@c;d'].filter((t) => t !== 'a@-'),
  )('%j is no e-mail', (text) => {
    expect(() => readEmail(text)).toThrowError(expect.objectContaining({ code: 'INVALID_EMAIL' }))
  })
})
