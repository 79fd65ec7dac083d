// No SSH server: what Node alone takes to read the bytes of a visit, to put them into packets of 32 KiB, to encrypt those
// in place with ssh2's native cipher, and to write as many bytes on. No server on Node and ssh2's cryptography takes less.
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { connect, createServer, type Socket } from 'node:net'
import { argv } from 'node:process'

import { readShared } from '../../packages/slave/src/ssh2/patches/shared-reads.ts'

interface Native {
  encrypt(packet: Buffer, sequence?: number): void
}
const native = createRequire(import.meta.url)('ssh2/lib/protocol/crypto/build/Release/sshcrypto.node') as {
  AESGCMCipher: new (name: string, key: Buffer, iv: Buffer) => Native
  ChaChaPolyCipher: new (key: Buffer) => Native
}

const [, , cipherName = '', targetPort = ''] = argv
const DATA_BYTES = 32 * 1024
/** Length, length of the padding, type, channel, length of the data. */
const HEAD_BYTES = 4 + 1 + 9
/** With it the encrypted part is whole blocks of both ciphers. */
const PADDING_BYTES = 6
const TAG_BYTES = 16
const packet = Buffer.alloc(HEAD_BYTES + DATA_BYTES + PADDING_BYTES + TAG_BYTES)
const cipher = cipherName.startsWith('aes')
  ? new native.AESGCMCipher('aes-128-gcm', randomBytes(16), randomBytes(12))
  : new native.ChaChaPolyCipher(randomBytes(64))

function encrypt(chunk: Buffer): void {
  for (let at = 0; at < chunk.length; at += DATA_BYTES) {
    const data = chunk.subarray(at, at + DATA_BYTES)
    packet.set(data, HEAD_BYTES)
    packet.writeUInt32BE(packet.length - 4 - TAG_BYTES)
    cipher.encrypt(packet, 7)
  }
}

function passOn(from: Socket, to: Socket): void {
  const onChunk = (chunk: Buffer): void => {
    if (chunk.length >= 1_024) encrypt(chunk)
    if (!to.write(chunk)) from.pause()
  }
  from.on('data', onChunk)
  readShared(from, onChunk)
  to.on('drain', () => from.resume())
  from.on('end', () => to.end())
  from.on('error', () => to.destroy())
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (visitor) => {
  const target = connect({ port: Number(targetPort), host: '127.0.0.1', allowHalfOpen: true })
  target.once('connect', () => {
    passOn(visitor, target)
    passOn(target, visitor)
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (typeof address === 'object') process.stdout.write(`{"port":${address?.port}}\n`)
})
