// Replaces the curve25519 step of one ssh2 key exchange (RFC 8731). ssh2 takes both keys through DER, which costs Node
// 0.25 ms each; JWK costs 0.02 ms. The private key is dropped as soon as the secret is known, where ssh2 keeps it as
// long as the connection lives.
import { createPublicKey, diffieHellman, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { mpint } from '@sshoal/shared/ssh-wire'

import type { KeyExchange } from '../library.ts'

const KEY_LENGTH = 32

export function useCheapX25519(exchange: KeyExchange): void {
  if (!exchange.negotiated.kex.startsWith('curve25519-sha256')) return
  let privateKey: KeyObject | undefined
  let publicKey: Buffer | undefined
  exchange.generateKeys = () => {
    if (publicKey !== undefined) return
    const pair = generateKeyPairSync('x25519')
    privateKey = pair.privateKey
    publicKey = Buffer.from(pair.publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  }
  exchange.getPublicKey = () => {
    exchange.generateKeys()
    return publicKey as Buffer
  }
  exchange.computeSecret = (peer) => {
    exchange.generateKeys()
    if (peer.length !== KEY_LENGTH) return new Error('a curve25519 key has 32 bytes')
    try {
      const jwk = { kty: 'OKP', crv: 'X25519', x: peer.toString('base64url') }
      const secret = diffieHellman({
        privateKey: privateKey as KeyObject,
        publicKey: createPublicKey({ key: jwk, format: 'jwk' }),
      })
      privateKey = undefined
      return mpint(secret).subarray(4)
    } catch (error) {
      return error as Error
    }
  }
}
