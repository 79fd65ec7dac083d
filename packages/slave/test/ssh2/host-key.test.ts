import { execFileSync } from 'node:child_process'
import { createPublicKey, verify } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { fingerprintOf } from '@sshoal/shared'
import { verifySignature } from '@sshoal/shared/ssh-signature'
import { WireReader } from '@sshoal/shared/ssh-wire'
import { describe, expect, it } from 'vitest'

import {
  createSshServer,
  cryptoInUse,
  generateHostKey,
  hostKeyPublic,
  signWithHostKey,
} from '../../src/ssh2/index.ts'

// An RSA key takes a second or more to make: all use one.
const made = new Map<string, string>()
function oneOf(type: 'ed25519' | 'ecdsa' | 'rsa'): string {
  const key = made.get(type) ?? generateHostKey(type)
  made.set(type, key)
  return key
}

describe('a host key', () => {
  it.each([
    ['ed25519', '256', 'ED25519'],
    ['ecdsa', '256', 'ECDSA'],
    ['rsa', '3072', 'RSA'],
  ] as const)('of type %s is read by ssh-keygen with our fingerprint', (type, bits, name) => {
    const folder = mkdtempSync(join(tmpdir(), 'sshoal-'))
    const file = join(folder, 'key')
    const text = oneOf(type)
    writeFileSync(file, text, { mode: 0o600 })
    const shown = execFileSync('ssh-keygen', ['-lf', file], { encoding: 'utf8' })
    rmSync(folder, { recursive: true })
    expect(shown).toContain(fingerprintOf(hostKeyPublic(text).publicKey))
    expect(shown.startsWith(`${bits} `)).toBe(true)
    expect(shown).toContain(`(${name})`)
  })

  it.each(['ed25519', 'ecdsa', 'rsa'] as const)(
    'of type %s signs so that its public half verifies',
    (type) => {
      for (let i = 0; i < (type === 'rsa' ? 2 : 50); i++) {
        const text = type === 'rsa' ? oneOf(type) : generateHostKey(type)
        const { publicKey } = hostKeyPublic(text)
        const data = Buffer.from('nonce')
        const signature = signWithHostKey(text, data)
        const algorithm = new WireReader(signature).text()
        expect(verifySignature(algorithm, publicKey, data, signature)).toBe(true)
      }
    },
  )

  it('that cannot serve is refused with a code', () => {
    for (const hostKeys of [[], ['nonsense']]) {
      expect(() => createSshServer({ hostKeys, algorithms: 'modern', software: 'x' })).toThrow(
        expect.objectContaining({ code: 'HOST_KEY_INVALID' }),
      )
    }
  })

  it('signature of ed25519 is the one of RFC 8709', () => {
    const text = generateHostKey('ed25519')
    const x = hostKeyPublic(text).publicKey.subarray(-32).toString('base64url')
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
    const signature = signWithHostKey(text, Buffer.from('a')).subarray(-64)
    expect(verify(null, Buffer.from('a'), key, signature)).toBe(true)
  })

  it('is used by crypto that names itself', () => {
    expect(['native', 'node']).toContain(cryptoInUse())
  })
})
