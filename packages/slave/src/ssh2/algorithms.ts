// What we offer in a key exchange, by strictness. `modern` is what ssh-audit has nothing to say about and what Debian's
// dbclient can still speak (it has neither GCM nor an ETM MAC, so chacha20-poly1305 stays). `compatible` adds what
// firmware of 2018 needs, never SHA-1. No compression: "zlib" would inflate before login, synchronously and unbounded.
import { library } from './library.ts'
import type { Offer } from './library.ts'

const MODERN_KEX = [
  'curve25519-sha256',
  'curve25519-sha256@libssh.org',
  'diffie-hellman-group16-sha512',
  'diffie-hellman-group18-sha512',
]
// ssh2's server cannot do group exchange ("Group exchange not implemented for server"), so it is not among them.
const COMPATIBLE_KEX = [
  'ecdh-sha2-nistp256',
  'ecdh-sha2-nistp384',
  'ecdh-sha2-nistp521',
  'diffie-hellman-group14-sha256',
]
const CIPHERS = [
  'aes128-gcm@openssh.com',
  'aes256-gcm@openssh.com',
  'chacha20-poly1305@openssh.com',
  'aes128-ctr',
  'aes256-ctr',
]
const MODERN_MACS = ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com']
const COMPATIBLE_MACS = ['hmac-sha2-256', 'hmac-sha2-512']
/** Ciphers that authenticate by themselves; the MAC lists do not count for them. */
const AUTHENTICATED = new Set([
  'aes128-gcm@openssh.com',
  'aes256-gcm@openssh.com',
  'chacha20-poly1305@openssh.com',
])

export function buildOffer(
  strictness: 'modern' | 'compatible',
  hostKeyAlgorithms: string[],
  role: 'server' | 'client' = 'server',
): Offer {
  const compatible = strictness === 'compatible'
  const side = {
    cipher: CIPHERS,
    mac: compatible ? [...MODERN_MACS, ...COMPATIBLE_MACS] : MODERN_MACS,
    compress: ['none'],
    lang: [],
  }
  return new library.KexInit({
    kex: [...MODERN_KEX, ...(compatible ? COMPATIBLE_KEX : []), `kex-strict-${role[0]}-v00@openssh.com`],
    serverHostKey: hostKeyAlgorithms,
    cs: side,
    sc: side,
  })
}

/** True when a cipher needs a MAC beside it. */
export function needsMac(cipher: string): boolean {
  return !AUTHENTICATED.has(cipher)
}

/** Signature algorithms a login key may use (RFC 8308 §3.1); told to the client as `server-sig-algs`. */
export const SIGNATURE_ALGORITHMS = [
  'ssh-ed25519',
  'sk-ssh-ed25519@openssh.com',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ecdsa-sha2-nistp256@openssh.com',
  'rsa-sha2-512',
  'rsa-sha2-256',
]
