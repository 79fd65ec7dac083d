import fc from 'fast-check'
import { expect, test } from 'vitest'

import { forwardName, isBound } from '../src/forward.ts'

const inRange = (port: number): boolean => port >= 20_000 && port <= 25_000
const request = (bindAddress: string, bindPort: number) => ({ bindAddress, bindPort })

test.each([
  '',
  '*',
  'localhost',
  'LOCALHOST',
  '127.0.0.1',
  '0.0.0.0',
  '10.1.2.3',
  '::',
  '::1',
  '2001:db8::1',
])('on %j, port 0 and ports of the range are bound; others are named, without a name', (address) => {
  for (const port of [0, 20_000, 25_000])
    expect(isBound(request(address, port), inRange), `${port}`).toBe(true)
  for (const port of [22, 80, 1_023, 1_024, 19_999, 25_001, 65_535])
    expect(isBound(request(address, port), inRange), `${port}`).toBe(false)
  expect(forwardName(request(address, 80))).toBe('')
})

test('a port below 1024 is named, also where the range reaches down to it', () => {
  expect(isBound(request('', 80), () => true)).toBe(false)
})

test.each(['web', 'WEB', 'my-device', '1', '12', '0', 'a'.repeat(63)])('%j is a name', (name) => {
  for (const port of [0, 22, 20_001]) expect(isBound(request(name, port), inRange)).toBe(false)
  expect(forwardName(request(name, 0))).toBe(name.toLowerCase())
})

test.each([
  'a'.repeat(64),
  'a.b',
  'my_device',
  'ä',
  'a b',
  '1.2.3',
  '999.1.1.1',
  'a:b',
  '[::1]',
  '/tmp/socket',
  'a\0',
])('%j is neither an address nor a name', (name) => {
  expect(isBound(request(name, 0), inRange)).toBe(false)
  expect(forwardName(request(name, 0))).toBeUndefined()
})

test('every request is bound, or named, or refused, and a name is written one way', () => {
  const port = fc.constantFrom(0, 1, 80, 20_001, 65_535)
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.domain()), port, (address, port) => {
      const name = forwardName(request(address, port))
      if (isBound(request(address, port), inRange)) expect(name).toBe('')
      if (name) expect(name).toMatch(/^[a-z0-9-]{1,63}$/)
      if (name) expect(forwardName(request(name, port))).toBe(name)
    }),
  )
})
