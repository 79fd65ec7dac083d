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

/** Number of length-prefixed fields after the algorithm name, per accepted algorithm. */
const FIELDS: Record<string, number> = {
  'ssh-ed25519': 1,
  'ecdsa-sha2-nistp256': 2,
  'ecdsa-sha2-nistp384': 2,
  'ecdsa-sha2-nistp521': 2,
  'ssh-rsa': 2,
  'sk-ssh-ed25519@openssh.com': 2,
  'sk-ecdsa-sha2-nistp256@openssh.com': 3,
}

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
  if (!(algorithm in FIELDS)) {
    throw invalid(
      base64 === '' && algorithm === ''
        ? 'the key is empty'
        : `"${algorithm.slice(0, 60)}" is not an accepted key type (options are not allowed; use ${Object.keys(FIELDS).join(', ')})`,
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
  const expected = FIELDS[algorithm]
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
  if (algorithm === 'ssh-rsa') {
    const modulus = fields[2] ?? Buffer.alloc(0)
    const leading = modulus[0] === 0 ? 1 : 0
    const bits = (modulus.length - leading) * 8 - Math.clz32(modulus[leading] ?? 0) + 24
    if (bits < MIN_RSA_BITS)
      throw invalid(`an RSA key needs ${MIN_RSA_BITS} bits, this one has ${bits}; ed25519 is better`)
    if (bits > 16_384) throw invalid(`an RSA key may have 16384 bits, this one has ${bits}`)
  } else if (algorithm.includes('ed25519')) {
    if (fields[1]?.length !== 32) throw invalid('an ed25519 key has 32 bytes')
  } else {
    const curve = fields[1]?.toString('latin1') ?? ''
    if (!algorithm.includes(curve) || curve === '')
      throw invalid(`the curve "${curve.slice(0, 20)}" does not belong to ${algorithm}`)
    if (fields[2]?.[0] !== 4) throw invalid('the point of an ecdsa key is not uncompressed (RFC 5656 §3.1)')
  }
}

function invalid(reason: string): SshoalError {
  return new SshoalError('INVALID_KEY', `not a usable public key: ${reason}`)
}
