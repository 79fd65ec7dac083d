// New SSH key pairs as text, without a process and without a file: ed25519 in OpenSSH's own format, RSA as PEM.
// Who makes one decides what becomes of the private half; nothing here keeps it.
import { generateKeyPair, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'

import { formatPublicKeyLine } from './ssh-public-key.ts'
import { mpint, string, uint32 } from './ssh-wire.ts'

export interface SshKeyPair {
  /** As `ssh -i` reads it. */
  privateKey: string
  /** `type base64 comment`. */
  publicKey: string
}

/** RSA has 2048 bits and takes a tenth of a second, off the event loop. */
export async function makeSshKeyPair(type: 'ed25519' | 'rsa', comment: string): Promise<SshKeyPair> {
  if (type === 'ed25519') {
    const { d = '', x = '' } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
    const point = Buffer.from(x, 'base64url')
    const wire = Buffer.concat([string('ssh-ed25519'), string(point)])
    return {
      privateKey: openSshPrivateKey(point, Buffer.from(d, 'base64url'), comment),
      publicKey: line('ssh-ed25519', wire, comment),
    }
  }
  const pair = await promisify(generateKeyPair)('rsa', { modulusLength: 2_048 })
  return {
    privateKey: pair.privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(),
    publicKey: line('ssh-rsa', rsaWire(pair.publicKey), comment),
  }
}

/** OpenSSH's own format of an ed25519 key (PROTOCOL.key), the only one in which its tools read it before 9.6. */
export function openSshPrivateKey(publicKey: Buffer, seed: Buffer, comment = ''): string {
  const type = 'ssh-ed25519'
  const wire = Buffer.concat([string(type), string(publicKey)])
  const check = randomBytes(4)
  const secret = [check, check, wire, string(Buffer.concat([seed, publicKey])), string(comment)]
  const length = secret.reduce((sum, part) => sum + part.length, 0)
  const padding = Buffer.from([1, 2, 3, 4, 5, 6, 7].slice(0, (8 - (length % 8)) % 8))
  const container = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    ...['none', 'none', ''].map((field) => string(field)),
    uint32(1),
    string(wire),
    string(Buffer.concat([...secret, padding])),
  ])
  const lines = container.toString('base64').match(/.{1,70}/g) ?? []
  return ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n')
}

function rsaWire(key: KeyObject): Buffer {
  const { e = '', n = '' } = key.export({ format: 'jwk' })
  return Buffer.concat([
    string('ssh-rsa'),
    mpint(Buffer.from(e, 'base64url')),
    mpint(Buffer.from(n, 'base64url')),
  ])
}

function line(algorithm: string, wire: Buffer, comment: string): string {
  return formatPublicKeyLine({ algorithm, base64: wire.toString('base64'), comment })
}
