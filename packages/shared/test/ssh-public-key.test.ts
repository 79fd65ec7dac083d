import { createHash } from 'node:crypto'

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import {
  fingerprintOf,
  formatPublicKeyLine,
  parsePublicKeyBlob,
  parsePublicKeyLine,
} from '../src/ssh-public-key.ts'
import { string } from '../src/ssh-wire.ts'
import { SshoalError } from '../src/sshoal-error.ts'
import { ecdsaKey, ed25519Key, rsaKey, rsaWire, tokenKey, type TestKey } from './fixture.ts'

const rsa2048 = rsaKey(2_048)
const keys: TestKey[] = [
  ed25519Key(),
  ecdsaKey('nistp256'),
  ecdsaKey('nistp384'),
  ecdsaKey('nistp521'),
  rsa2048,
  tokenKey(),
]
const b64 = (wire: Buffer): string => wire.toString('base64')
const line = (key: TestKey, comment = ''): string =>
  `${key.algorithm} ${b64(key.wire)}${comment && ` ${comment}`}`

function problem(read: () => unknown): string {
  try {
    read()
  } catch (error) {
    expect(error).toBeInstanceOf(SshoalError)
    expect((error as SshoalError).code).toBe('INVALID_KEY')
    return (error as SshoalError).message
  }
  return 'no error'
}
const lineProblem = (text: string): string => problem(() => parsePublicKeyLine(text))
const blobProblem = (wire: Buffer): string => problem(() => parsePublicKeyBlob(b64(wire)))

describe('reading a public key line', () => {
  test.each(keys.map((key) => [key.algorithm, key] as const))('%s is read with its comment', (_, key) => {
    expect(parsePublicKeyLine(` ${line(key, 'root@box one')}\n`)).toEqual({
      algorithm: key.algorithm,
      base64: b64(key.wire),
      fingerprint: fingerprintOf(key.wire),
      comment: 'root@box one',
    })
  })

  test('the fingerprint is spelled as ssh-keygen -l prints it', () => {
    const digest = createHash('sha256').update('key').digest('base64')
    expect(digest.endsWith('=')).toBe(true)
    expect(fingerprintOf(Buffer.from('key'))).toBe(`SHA256:${digest.slice(0, -1)}`)
  })

  test.each([
    ['', 'the key is empty'],
    ['   ', 'the key is empty'],
    ['ssh-ed25519', 'not base64'],
    ['ssh-ed25519 !!!', 'not base64'],
    ['ssh-ed25519 AAAA', 'cut short'],
    ['ssh-dss AAAA', '"ssh-dss" is not an accepted key type'],
    [`command="x" ${line(ed25519Key())}`, 'options are not allowed'],
    [`restrict,pty ${line(ed25519Key())}`, 'options are not allowed'],
    [`${line(ed25519Key())}\n${line(ed25519Key())}`, 'one line'],
    [`${line(ed25519Key())} a\0b`, 'one line'],
    ['-----BEGIN OPENSSH PRIVATE KEY-----', 'private key'],
    ['constructor AAAA', '"constructor" is not an accepted key type'],
    ['__proto__ AAAA', '"__proto__" is not an accepted key type'],
  ])('%j is refused and the reason is told', (text, reason) => {
    expect(lineProblem(text)).toContain(reason)
  })

  test('a line that names another type than its key is refused', () => {
    expect(lineProblem(`ssh-rsa ${b64(ed25519Key().wire)}`)).toContain(
      'says ssh-rsa but the key is ssh-ed25519',
    )
  })

  test('an unknown type is quoted at most 60 characters long', () => {
    expect(lineProblem(`${'x'.repeat(100_000)} AAAA`).length).toBeLessThan(400)
  })
})

describe('reading the wire form', () => {
  test('a second base64 spelling of the same bytes is refused, so that one key has one spelling', () => {
    const key = Buffer.concat([ed25519Key().wire])
    const spelled = b64(key)
    expect(spelled.endsWith('=') || key.length % 3 === 0).toBe(true)
    const padded = rsa2048.wire.length % 3 === 0 ? keys.find(({ wire }) => wire.length % 3 !== 0) : rsa2048
    const text = b64(padded?.wire ?? key)
    const last = text.replace(/=+$/, '').length - 1
    const stray = `${text.slice(0, last)}${String.fromCharCode(text.charCodeAt(last) + 1)}${text.slice(last + 1)}`
    expect(Buffer.from(stray, 'base64')).toEqual(Buffer.from(text, 'base64'))
    expect(problem(() => parsePublicKeyBlob(stray))).toContain('canonical')
    expect(problem(() => parsePublicKeyBlob(text.replace(/=+$/, '')))).toContain('canonical')
  })

  test('a key larger than 8,192 bytes is refused', () => {
    expect(blobProblem(Buffer.concat([string('ssh-ed25519'), string(Buffer.alloc(9_000))]))).toContain(
      'larger',
    )
    expect(lineProblem(`ssh-ed25519 ${'A'.repeat(5_000_000)}`)).toContain('larger')
  })

  test('names that JavaScript objects inherit are not key types', () => {
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty'])
      expect(blobProblem(string(name))).toContain(`"${name}" is not an accepted key type`)
  })

  test('a field too few or too many is refused', () => {
    expect(blobProblem(string('ssh-ed25519'))).toContain('has 1 fields, this one 0')
    expect(blobProblem(Buffer.concat([ed25519Key().wire, string('more')]))).toContain('this one 2')
  })

  test('bytes behind the last field are refused', () => {
    expect(blobProblem(Buffer.concat([ed25519Key().wire, Buffer.of(0)]))).toContain('cut short')
  })

  test('an ed25519 key of another length is refused', () => {
    expect(blobProblem(Buffer.concat([string('ssh-ed25519'), string(Buffer.alloc(31))]))).toContain(
      '32 bytes',
    )
  })
})

describe('weak keys', () => {
  test('an RSA key of 1,024 bits is refused with its size', () => {
    expect(blobProblem(rsaKey(1_024).wire)).toContain('needs 2048 bits, this one has 1024')
  })

  test('an RSA key of 2,047 bits is refused, one of 2,048 is not', () => {
    const modulus = (first: number): Buffer => Buffer.concat([Buffer.of(first), Buffer.alloc(255, 0xff)])
    const e = Buffer.of(1, 0, 1)
    expect(blobProblem(rsaWire(e, modulus(0x7f)))).toContain('this one has 2047')
    expect(parsePublicKeyBlob(b64(rsaWire(e, Buffer.concat([Buffer.of(0), modulus(0x80)])))).algorithm).toBe(
      'ssh-rsa',
    )
  })

  test('an RSA modulus over 16,384 bits is refused', () => {
    const modulus = Buffer.concat([Buffer.of(1), Buffer.alloc(2_048, 1)])
    expect(blobProblem(rsaWire(Buffer.of(3), modulus))).toContain('16384')
  })

  test('zeros in front do not make a short RSA key long', () => {
    const padded = Buffer.concat([Buffer.alloc(400), Buffer.alloc(64, 0x7f)])
    expect(blobProblem(rsaWire(Buffer.of(1, 0, 1), padded))).toContain('not a number')
  })

  test('a negative or empty RSA number is refused', () => {
    expect(blobProblem(rsaWire(Buffer.of(1, 0, 1), Buffer.alloc(256, 0xff)))).toContain('not a number')
    expect(blobProblem(rsaWire(Buffer.alloc(0), Buffer.alloc(256, 0x7f)))).toContain('not a number')
  })

  test('an RSA exponent under which anybody could sign is refused', () => {
    for (const exponent of [1, 2, 4])
      expect(blobProblem(rsaWire(Buffer.of(exponent), Buffer.alloc(257, 0x7f)))).toContain('exponent')
  })

  test.each(['n', 'sha2', 'nistp', 'nistp384', ''])('the curve %j does not belong to nistp256', (curve) => {
    const point = Buffer.concat([Buffer.of(4), Buffer.alloc(64, 1)])
    const wire = Buffer.concat([string('ecdsa-sha2-nistp256'), string(curve), string(point)])
    expect(blobProblem(wire)).toContain('does not belong to')
  })

  test('an ecdsa point that is compressed or of another curve length is refused', () => {
    const wire = (point: Buffer): Buffer =>
      Buffer.concat([string('ecdsa-sha2-nistp256'), string('nistp256'), string(point)])
    expect(blobProblem(wire(Buffer.concat([Buffer.of(2), Buffer.alloc(32, 1)])))).toContain('point')
    expect(blobProblem(wire(Buffer.concat([Buffer.of(4), Buffer.alloc(96, 1)])))).toContain('point')
  })
})

describe('properties', () => {
  const words = fc.array(fc.stringMatching(/^[\x21-\x7e]{1,12}$/), { maxLength: 3 })

  test('what is formatted is read back, and what was read is formatted the same', () => {
    fc.assert(
      fc.property(fc.constantFrom(...keys), words, (key, comment) => {
        const text = line(key, comment.join(' '))
        const read = parsePublicKeyLine(text)
        expect(formatPublicKeyLine(read)).toBe(text)
        expect(parsePublicKeyLine(formatPublicKeyLine(read))).toEqual(read)
      }),
    )
  })

  test('any text is a key or an INVALID_KEY, never another error', () => {
    const lines = fc.oneof(
      fc.array(fc.nat(0xffff), { maxLength: 80 }).map((codes) => String.fromCharCode(...codes)),
      fc.tuple(fc.constantFrom(...keys), fc.nat(), fc.string({ maxLength: 3 })).map(([key, at, noise]) => {
        const text = line(key)
        const cut = at % text.length
        return `${text.slice(0, cut)}${noise}${text.slice(cut + noise.length)}`
      }),
    )
    fc.assert(
      fc.property(lines, (text) => {
        lineProblem(text)
      }),
      { numRuns: 500 },
    )
  })

  test('any bytes are a key or an INVALID_KEY, never another error', () => {
    const blobs = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc
        .tuple(
          fc.constantFrom(...keys.map(({ algorithm }) => algorithm), 'constructor'),
          fc.array(fc.uint8Array({ maxLength: 70 }), { maxLength: 4 }),
        )
        .map(([name, fields]) =>
          Buffer.concat([string(name), ...fields.map((bytes) => string(Buffer.from(bytes)))]),
        ),
    )
    fc.assert(
      fc.property(blobs, (wire) => {
        blobProblem(wire)
      }),
      { numRuns: 500 },
    )
  })
})
