// SSH public keys: the OpenSSH line (`type base64 comment`, sshd(8)), the wire form (RFC 4253 §6.6), the fingerprint.
// Decides which keys are strong enough to be let in anywhere in the product.
import { createHash } from 'node:crypto'

import { SshoalError } from './sshoal-error.ts'

export interface SshPublicKey {
  algorithm: string
  /** The wire form in base64, as it stands in the line. */
  base64: string
  /** `SHA256:…` without padding, as `ssh-keygen -l` prints it. */
  fingerprint: string
  comment: string
}

const MAX_KEY_BYTES = 8_192
const MIN_RSA_BITS = 2_048
const MAX_RSA_BITS = 16_384

/** Number of length-prefixed fields after the algorithm name, per accepted algorithm. */
const FIELDS: ReadonlyMap<string, number> = new Map([
  ['ssh-ed25519', 1],
  ['ecdsa-sha2-nistp256', 2],
  ['ecdsa-sha2-nistp384', 2],
  ['ecdsa-sha2-nistp521', 2],
  ['ssh-rsa', 2],
  ['sk-ssh-ed25519@openssh.com', 2],
  ['sk-ecdsa-sha2-nistp256@openssh.com', 3],
])

/** Bytes of one coordinate, per curve (RFC 5656 §10.1). */
const COORDINATE_BYTES: ReadonlyMap<string, number> = new Map([
  ['nistp256', 32],
  ['nistp384', 48],
  ['nistp521', 66],
])

/** `SHA256:…` of a key in wire form. */
export function fingerprintOf(wire: Uint8Array): string {
  return `SHA256:${createHash('sha256').update(wire).digest('base64').replace(/=+$/, '')}`
}

/** Reads one OpenSSH public key line without options. Throws INVALID_KEY with what is wrong with it. */
export function parsePublicKeyLine(line: string): SshPublicKey {
  const text = line.trim()
  if (/[\r\n\0]/.test(text)) throw invalid('a public key is one line')
  if (text.startsWith('-----BEGIN'))
    throw invalid('that is a private key or a certificate; hand in the .pub file')
  const [algorithm = '', base64 = '', ...comment] = text.split(/[ \t]+/)
  if (!FIELDS.has(algorithm)) {
    throw invalid(
      base64 === '' && algorithm === ''
        ? 'the key is empty'
        : `"${algorithm.slice(0, 60)}" is not an accepted key type (options are not allowed; use ${[...FIELDS.keys()].join(', ')})`,
    )
  }
  const key = parsePublicKeyBlob(base64)
  if (key.algorithm !== algorithm) throw invalid(`the line says ${algorithm} but the key is ${key.algorithm}`)
  return { ...key, comment: comment.join(' ') }
}

/** Reads a key from the base64 of its wire form. Throws INVALID_KEY. */
export function parsePublicKeyBlob(base64: string): SshPublicKey {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) throw invalid('the key is not base64')
  const wire = Buffer.from(base64, 'base64')
  // Node ignores stray bits; the canonical spelling must come back, else two spellings would be two keys.
  if (wire.toString('base64') !== base64) throw invalid('the key is not canonical base64')
  if (wire.length > MAX_KEY_BYTES) throw invalid(`the key is larger than ${MAX_KEY_BYTES} bytes`)
  const fields = readFields(wire)
  const algorithm = fields[0]?.toString('latin1') ?? ''
  const expected = FIELDS.get(algorithm)
  if (expected === undefined) throw invalid(`"${algorithm.slice(0, 60)}" is not an accepted key type`)
  if (fields.length !== expected + 1)
    throw invalid(`a ${algorithm} key has ${expected} fields, this one ${fields.length - 1}`)
  checkStrength(algorithm, fields)
  return { algorithm, base64, fingerprint: fingerprintOf(wire), comment: '' }
}

/** The OpenSSH line of a key. */
export function formatPublicKeyLine(key: { algorithm: string; base64: string; comment?: string }): string {
  return key.comment ? `${key.algorithm} ${key.base64} ${key.comment}` : `${key.algorithm} ${key.base64}`
}

function readFields(wire: Buffer): Buffer[] {
  const fields: Buffer[] = []
  let offset = 0
  while (offset < wire.length) {
    if (offset + 4 > wire.length) throw invalid('the key is cut short')
    const length = wire.readUInt32BE(offset)
    offset += 4
    if (offset + length > wire.length) throw invalid('the key is cut short')
    fields.push(wire.subarray(offset, offset + length))
    offset += length
  }
  return fields
}

function checkStrength(algorithm: string, fields: Buffer[]): void {
  if (algorithm === 'ssh-rsa') checkRsa(number(fields[1]), number(fields[2]))
  else if (algorithm.includes('ed25519')) {
    if (fields[1]?.length !== 32) throw invalid('an ed25519 key has 32 bytes')
  } else {
    const curve = fields[1]?.toString('latin1') ?? ''
    const size = COORDINATE_BYTES.get(curve)
    if (size === undefined || !algorithm.includes(curve))
      throw invalid(`the curve "${curve.slice(0, 20)}" does not belong to ${algorithm}`)
    if (fields[2]?.[0] !== 4 || fields[2].length !== 1 + 2 * size)
      throw invalid('the point of an ecdsa key is not uncompressed (RFC 5656 §3.1)')
  }
}

function checkRsa(exponent: Buffer, modulus: Buffer): void {
  const bits = modulus.length * 8 - (Math.clz32(modulus[0] ?? 0) - 24)
  if (bits < MIN_RSA_BITS)
    throw invalid(`an RSA key needs ${MIN_RSA_BITS} bits, this one has ${bits}; ed25519 is better`)
  if (bits > MAX_RSA_BITS) throw invalid(`an RSA key may have ${MAX_RSA_BITS} bits, this one has ${bits}`)
  // With 1 every text is its own signature.
  const isOne = exponent.length === 1 && exponent[0] === 1
  if (isOne || ((exponent.at(-1) ?? 0) & 1) === 0)
    throw invalid('the RSA exponent is not an odd number from 3')
}

/** The digits of a positive number in its only spelling (`mpint`, RFC 4251 §5), so that one key has one fingerprint. */
function number(field: Buffer = Buffer.alloc(0)): Buffer {
  const first = field[0] ?? 0x80
  const padded = first === 0 && (field[1] ?? 0) >= 0x80
  if (!padded && (first === 0 || first >= 0x80))
    throw invalid('a part of the RSA key is not a number above 0')
  return padded ? field.subarray(1) : field
}

function invalid(reason: string): SshoalError {
  return new SshoalError('INVALID_KEY', `not a usable public key: ${reason}`)
}
