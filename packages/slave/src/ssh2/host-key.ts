// Host keys: parsed once, kept as KeyObjects, used to sign key exchanges and, by the layers above, to prove who a slave
// is. ssh2 parses the PEM again at every signature, 0.9 ms each; its key exchange accepts any object with these methods.
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { openSshPrivateKey } from '@sshoal/shared'
import { mpint, string } from '@sshoal/shared/ssh-wire'

import { library } from './library.ts'
import type { LibraryHostKey, ParsedKey } from './library.ts'

/** A private key text that cannot serve as a host key. */
export class HostKeyError extends Error {
  readonly code = 'HOST_KEY_INVALID'
}

const CURVE_HASHES: Record<string, string> = {
  'ecdsa-sha2-nistp256': 'sha256',
  'ecdsa-sha2-nistp384': 'sha384',
  'ecdsa-sha2-nistp521': 'sha512',
}

export class HostKey implements LibraryHostKey {
  /** The key type, e.g. `ssh-rsa`; the algorithms it signs with are `algorithms`. */
  readonly type: string
  readonly algorithms: string[]
  #publicKey: Buffer
  #privateKey: KeyObject

  constructor(privateKeyText: string) {
    const parsed = library.parseKey(privateKeyText)
    const key: ParsedKey | Error | undefined = Array.isArray(parsed) ? parsed[0] : parsed
    if (key === undefined || key instanceof Error) {
      throw new HostKeyError(`a host key cannot be read: ${key?.message ?? 'it is empty'}`)
    }
    const pem = key.getPrivatePEM()
    if (pem === null) throw new HostKeyError('a host key has no private part')
    this.type = key.type
    this.#publicKey = Buffer.from(key.getPublicSSH())
    this.#privateKey = createPrivateKey(pem)
    if (this.type === 'ssh-rsa') {
      const bits = this.#privateKey.asymmetricKeyDetails?.modulusLength ?? 0
      if (bits < 2048) throw new HostKeyError(`an RSA host key has ${bits} bits, at least 2048 are needed`)
      this.algorithms = ['rsa-sha2-512', 'rsa-sha2-256']
    } else if (this.type === 'ssh-ed25519' || this.type in CURVE_HASHES) {
      this.algorithms = [this.type]
    } else {
      throw new HostKeyError(`${this.type} is no key type for a host key`)
    }
  }

  getPublicSSH(): Buffer {
    return this.#publicKey
  }

  /** The bare signature as RFC 4253 §6.6 and RFC 5656 §3.1.2 write it, without the name of its algorithm. */
  sign(data: Buffer, hash?: string): Buffer {
    if (this.type === 'ssh-ed25519') return sign(null, data, this.#privateKey)
    if (this.type === 'ssh-rsa') return sign(hash ?? 'sha512', data, this.#privateKey)
    const both = sign(CURVE_HASHES[this.type], data, { key: this.#privateKey, dsaEncoding: 'ieee-p1363' })
    return Buffer.concat([mpint(both.subarray(0, both.length / 2)), mpint(both.subarray(both.length / 2))])
  }
}

/** Host keys by the algorithm that a client may ask for, the first of each kind winning. */
export function hostKeysByAlgorithm(privateKeyTexts: string[]): Record<string, HostKey> {
  const keys: Record<string, HostKey> = {}
  for (const text of privateKeyTexts) {
    const key = new HostKey(text)
    for (const algorithm of key.algorithms) keys[algorithm] ??= key
  }
  if (Object.keys(keys).length === 0) throw new HostKeyError('no host key was given')
  return keys
}

/** A new private key as text that ssh-keygen reads. ssh2's own generator writes a malformed key now and then. */
export function generateHostKey(type: 'ed25519' | 'ecdsa' | 'rsa'): string {
  if (type === 'ed25519') {
    const { d = '', x = '' } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
    return openSshPrivateKey(Buffer.from(x, 'base64url'), Buffer.from(d, 'base64url'))
  }
  if (type === 'ecdsa') {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    return privateKey.export({ type: 'sec1', format: 'pem' }).toString()
  }
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 3072 })
  return privateKey.export({ type: 'pkcs1', format: 'pem' }).toString()
}

/** The public half of a private key text: its type and its wire form (RFC 4253 §6.6). */
export function hostKeyPublic(privateKeyText: string): { algorithm: string; publicKey: Buffer } {
  const key = new HostKey(privateKeyText)
  return { algorithm: key.type, publicKey: key.getPublicSSH() }
}

/** Signs `data` with a host key: an SSH signature, `string algorithm, string signature`. */
export function signWithHostKey(privateKeyText: string, data: Buffer): Buffer {
  const key = new HostKey(privateKeyText)
  return Buffer.concat([string(key.algorithms[0] ?? key.type), string(key.sign(data))])
}
