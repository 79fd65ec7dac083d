// Key pairs as devices and people have them, made by OpenSSH's and dropbear's own tools.

import { createHash, randomUUID } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { utils } from 'ssh2'

import { run } from './run.ts'

export interface Key {
  /** The private key's file. */
  path: string
  /** One line as in authorized_keys: type, base64, comment. */
  publicKey: string
  /** `SHA256:…`, without padding, as OpenSSH prints it. */
  fingerprint: string
  /** The base64 of the wire form. */
  wire: string
}

export type KeyType = 'ed25519' | 'rsa' | 'ecdsa'

function describe(path: string, publicKey: string): Key {
  const wire = publicKey.split(' ')[1] ?? ''
  const digest = createHash('sha256').update(Buffer.from(wire, 'base64')).digest('base64')
  return { path, publicKey, fingerprint: `SHA256:${digest.replace(/=+$/, '')}`, wire }
}

export async function makeKey(folder: string, type: KeyType = 'ed25519', bits?: number): Promise<Key> {
  const path = join(folder, `key-${randomUUID()}`)
  const size = bits === undefined ? [] : ['-b', String(bits)]
  const made = await run('ssh-keygen', ['-q', '-t', type, ...size, '-N', '', '-C', 'test', '-f', path])
  if (made.status !== 0) throw new Error(`ssh-keygen failed: ${made.stderr}`)
  return describe(path, readFileSync(`${path}.pub`, 'utf8').trim())
}

export async function makeDropbearKey(folder: string, type: KeyType = 'ed25519'): Promise<Key> {
  const path = join(folder, `dropbear-key-${randomUUID()}`)
  const made = await run('dropbearkey', ['-t', type, '-f', path])
  const line = made.stdout.split('\n').find((text) => /^(ssh|ecdsa)-/.test(text))
  if (made.status !== 0 || line === undefined) throw new Error(`dropbearkey failed: ${made.stderr}`)
  return describe(path, line)
}

/** Two lengths, `ssh-ed25519`, 32 bytes. */
const ED25519_WIRE_BYTES = 51

/** Without a process for each: for tests with a hundred devices. */
export function makeManyKeys(folder: string, count: number): Key[] {
  return Array.from({ length: count }, () => {
    const path = join(folder, `key-${randomUUID()}`)
    for (;;) {
      const pair = utils.generateKeyPairSync('ed25519', { comment: 'test' })
      const key = describe(path, pair.public)
      // ssh2 drops a leading zero byte: one key in 256 is too short to be one.
      if (Buffer.from(key.wire, 'base64').length !== ED25519_WIRE_BYTES) continue
      writeFileSync(path, pair.private, { mode: 0o600 })
      return key
    }
  })
}
