import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { verifySignature } from '../src/ssh-signature.ts'
import { string } from '../src/ssh-wire.ts'
import { ecdsaKey, ed25519Key, rsaKey, tokenKey, type TestKey } from './fixture.ts'

const data = Buffer.from('session and request')
const rsa = rsaKey(2_048)
const cases: [string, TestKey][] = [
  ['ssh-ed25519', ed25519Key()],
  ['ecdsa-sha2-nistp256', ecdsaKey('nistp256')],
  ['ecdsa-sha2-nistp384', ecdsaKey('nistp384')],
  ['ecdsa-sha2-nistp521', ecdsaKey('nistp521')],
  ['rsa-sha2-256', rsa],
  ['rsa-sha2-512', rsa],
  ['sk-ssh-ed25519@openssh.com', tokenKey()],
]

describe.each(cases)('T059: %s', (algorithm, key) => {
  const signature = key.sign(data, algorithm)

  test('its signature is accepted, twice', () => {
    expect(verifySignature(algorithm, key.wire, data, signature)).toBe(true)
    expect(verifySignature(algorithm, key.wire, data, signature)).toBe(true)
  })

  test('a signature over anything else is not', () => {
    expect(verifySignature(algorithm, key.wire, Buffer.from('other'), signature)).toBe(false)
  })

  test('a signature by another key of the kind is not', () => {
    const [, other] = cases.find(([name, candidate]) => name !== algorithm && candidate !== key) ?? cases[0]!
    expect(verifySignature(algorithm, other.wire, data, signature)).toBe(false)
  })

  test('one changed bit anywhere in the key or the signature makes it wrong', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.nat(), fc.nat(7), (inKey, at, bit) => {
        const wire = Buffer.from(key.wire)
        const blob = Buffer.from(signature)
        const target = inKey ? wire : blob
        const index = at % target.length
        target[index] = (target[index] ?? 0) ^ (1 << bit)
        expect(verifySignature(algorithm, wire, data, blob)).toBe(false)
      }),
      { numRuns: 60 },
    )
  })

  test('bytes behind the signature make it wrong', () => {
    expect(verifySignature(algorithm, key.wire, data, Buffer.concat([signature, Buffer.of(0)]))).toBe(false)
  })
})

test('T059: SHA-1 is refused, whoever signs with it', () => {
  expect(verifySignature('ssh-rsa', rsa.wire, data, rsa.sign(data, 'ssh-rsa'))).toBe(false)
})

test('a signature counts only under the algorithm it names', () => {
  const signature = rsa.sign(data, 'rsa-sha2-256')
  expect(verifySignature('rsa-sha2-512', rsa.wire, data, signature)).toBe(false)
})

test('an RSA key under 2,048 bits is refused, whatever it signs', () => {
  const weak = rsaKey(1_024)
  expect(verifySignature('rsa-sha2-512', weak.wire, data, weak.sign(data))).toBe(false)
})

test('a token that nobody touched is refused', () => {
  const untouched = tokenKey(0)
  expect(verifySignature(untouched.algorithm, untouched.wire, data, untouched.sign(data))).toBe(false)
})

test('anything malformed is false, never an exception', () => {
  const bytes = fc.uint8Array({ maxLength: 120 }).map((list) => Buffer.from(list))
  const keys = fc.oneof(
    bytes,
    fc
      .tuple(fc.constantFrom(...cases.map(([, key]) => key.algorithm)), fc.array(bytes, { maxLength: 3 }))
      .map(([name, fields]) => Buffer.concat([string(name), ...fields.map((value) => string(value))])),
  )
  fc.assert(
    fc.property(
      fc.constantFrom(...cases.map(([name]) => name), 'constructor'),
      keys,
      bytes,
      (name, key, signature) => {
        expect(verifySignature(name, key, data, signature)).toBe(false)
        expect(verifySignature(name, key, data, Buffer.concat([string(name), string(signature)]))).toBe(false)
      },
    ),
    { numRuns: 300 },
  )
})
