// Checks the signature of a login key (RFC 4252 §7). ssh2 does not verify signatures, knows no FIDO keys and parses a PEM
// per check; here a key is parsed once into a KeyObject and kept in a small LRU by its wire form.
import { createHash, createPublicKey, verify } from 'node:crypto'
import type { JsonWebKey, KeyObject } from 'node:crypto'

import { LRUCache } from 'lru-cache'

import { WireReader } from './ssh-wire.ts'

/** RSA below this is refused, whatever it signs. */
const MIN_RSA_BITS = 2048
const KEPT_KEYS = 1024

const CURVES: Record<string, { jwk: string; hash: string; size: number }> = {
  nistp256: { jwk: 'P-256', hash: 'sha256', size: 32 },
  nistp384: { jwk: 'P-384', hash: 'sha384', size: 48 },
  nistp521: { jwk: 'P-521', hash: 'sha512', size: 66 },
}
const RSA_HASHES: Record<string, string> = { 'rsa-sha2-256': 'sha256', 'rsa-sha2-512': 'sha512' }

interface LoginKey {
  /** Key type as written in the key itself. */
  type: string
  key: KeyObject
  /** ECDSA only. */
  curve?: { hash: string; size: number }
  /** FIDO keys sign for an application, e.g. `ssh:` (PROTOCOL.u2f of OpenSSH). */
  application?: Buffer
}

const parsedKeys = new LRUCache<string, LoginKey>({ max: KEPT_KEYS })

function fromJwk(jwk: JsonWebKey): KeyObject {
  // JWK is by far the cheapest way in: 0.02 ms against 0.2 ms through DER (Node 20).
  return createPublicKey({ key: jwk, format: 'jwk' })
}

function parseEd25519(fields: WireReader): KeyObject {
  return fromJwk({ kty: 'OKP', crv: 'Ed25519', x: fields.string().toString('base64url') })
}

function parseEcdsa(fields: WireReader): Pick<LoginKey, 'key' | 'curve'> | undefined {
  const curve = CURVES[fields.text()]
  const point = fields.string()
  if (curve === undefined || point[0] !== 4 || point.length !== 1 + 2 * curve.size) return undefined
  const x = point.toString('base64url', 1, 1 + curve.size)
  const y = point.toString('base64url', 1 + curve.size)
  return { key: fromJwk({ kty: 'EC', crv: curve.jwk, x, y }), curve }
}

function parseKey(publicKey: Buffer): LoginKey | undefined {
  const fields = new WireReader(publicKey)
  const type = fields.text()
  switch (type) {
    case 'ssh-ed25519':
      return { type, key: parseEd25519(fields) }
    case 'sk-ssh-ed25519@openssh.com':
      return { type, key: parseEd25519(fields), application: Buffer.from(fields.string()) }
    case 'ecdsa-sha2-nistp256':
    case 'ecdsa-sha2-nistp384':
    case 'ecdsa-sha2-nistp521': {
      const parsed = parseEcdsa(fields)
      return parsed && { type, ...parsed }
    }
    case 'sk-ecdsa-sha2-nistp256@openssh.com': {
      const parsed = parseEcdsa(fields)
      return parsed && { type, ...parsed, application: Buffer.from(fields.string()) }
    }
    case 'ssh-rsa': {
      const e = fields.string().toString('base64url')
      const key = fromJwk({ kty: 'RSA', e, n: fields.string().toString('base64url') })
      return (key.asymmetricKeyDetails?.modulusLength ?? 0) < MIN_RSA_BITS ? undefined : { type, key }
    }
    default:
      return undefined
  }
}

function loginKey(publicKey: Buffer): LoginKey | undefined {
  const id = publicKey.toString('latin1')
  let known = parsedKeys.get(id)
  if (known === undefined) {
    known = parseKey(publicKey)
    if (known !== undefined) parsedKeys.set(id, known)
  }
  return known
}

/** The two numbers of an ECDSA signature (RFC 5656 §3.1.2) at their full width. */
function ecdsaNumbers(signature: Buffer, size: number): Buffer | undefined {
  const fields = new WireReader(signature)
  const both = Buffer.alloc(2 * size)
  for (const end of [size, 2 * size]) {
    let digits = fields.string()
    while (digits.length > size && digits[0] === 0) digits = digits.subarray(1)
    if (digits.length > size) return undefined
    digits.copy(both, end - digits.length)
  }
  return both
}

/** What a FIDO token signs: hash of the application, flags and counter of the token, hash of the data. */
function tokenSigned(application: Buffer, tail: Buffer, data: Buffer): Buffer {
  const hash = (value: Buffer): Buffer => createHash('sha256').update(value).digest()
  return Buffer.concat([hash(application), tail, hash(data)])
}

const USER_PRESENT = 1

/**
 * True when `signature` (string algorithm, string blob) is that of `publicKey` over `data` with exactly `algorithm`.
 * Anything malformed is false, never an exception.
 */
export function verifySignature(
  algorithm: string,
  publicKey: Buffer,
  data: Buffer,
  signature: Buffer,
): boolean {
  try {
    const known = loginKey(publicKey)
    if (known === undefined) return false
    const fields = new WireReader(signature)
    if (fields.text() !== algorithm) return false
    const blob = fields.string()
    let signed = data
    if (known.application !== undefined) {
      const tail = signature.subarray(fields.position)
      if (tail.length !== 5 || ((tail[0] ?? 0) & USER_PRESENT) === 0) return false
      signed = tokenSigned(known.application, tail, data)
    } else if (fields.left !== 0) {
      return false
    }
    if (known.type === 'ssh-rsa') {
      const hash = RSA_HASHES[algorithm]
      return hash !== undefined && verify(hash, signed, known.key, blob)
    }
    if (algorithm !== known.type) return false
    if (known.curve === undefined) return verify(null, signed, known.key, blob)
    const numbers = ecdsaNumbers(blob, known.curve.size)
    if (numbers === undefined) return false
    return verify(known.curve.hash, signed, { key: known.key, dsaEncoding: 'ieee-p1363' }, numbers)
  } catch {
    return false
  }
}
