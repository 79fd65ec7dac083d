// Keys in wire form, made without ssh-keygen, and two ends of a real WebSocket.
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'

import { Type } from 'typebox'
import { vi } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'

import { silentLog } from '../src/log.ts'
import { MAX_FRAME_BYTES } from '../src/protocol.ts'
import { mpint, string, uint32 } from '../src/ssh-wire.ts'
import { compileSpeech, Wire, type NoticeHandlers, type RequestHandlers } from '../src/wire.ts'

export interface TestKey {
  algorithm: string
  wire: Buffer
  /** A signature blob (RFC 4253 §6.6) by this key. */
  sign(data: Buffer, algorithm?: string): Buffer
}

function field(key: KeyObject, name: 'x' | 'y' | 'n' | 'e'): Buffer {
  return Buffer.from(key.export({ format: 'jwk' })[name] ?? '', 'base64url')
}

function token(application: string, data: Buffer, flags: number): { signed: Buffer; tail: Buffer } {
  const hash = (value: Buffer | string): Buffer => createHash('sha256').update(value).digest()
  const tail = Buffer.concat([Buffer.of(flags), uint32(7)])
  return { signed: Buffer.concat([hash(application), tail, hash(data)]), tail }
}

export function ed25519Key(): TestKey {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const algorithm = 'ssh-ed25519'
  return {
    algorithm,
    wire: Buffer.concat([string(algorithm), string(field(publicKey, 'x'))]),
    sign: (data) => Buffer.concat([string(algorithm), string(sign(null, data, privateKey))]),
  }
}

/** An ed25519 key in a FIDO token; `flags` 1: somebody touched it. */
export function tokenKey(flags = 1): TestKey {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const algorithm = 'sk-ssh-ed25519@openssh.com'
  return {
    algorithm,
    wire: Buffer.concat([string(algorithm), string(field(publicKey, 'x')), string('ssh:')]),
    sign: (data) => {
      const { signed, tail } = token('ssh:', data, flags)
      return Buffer.concat([string(algorithm), string(sign(null, signed, privateKey)), tail])
    },
  }
}

const CURVES = {
  nistp256: { named: 'prime256v1', hash: 'sha256', size: 32 },
  nistp384: { named: 'secp384r1', hash: 'sha384', size: 48 },
  nistp521: { named: 'secp521r1', hash: 'sha512', size: 66 },
}

export function ecdsaKey(curve: keyof typeof CURVES): TestKey {
  const { named, hash, size } = CURVES[curve]
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: named })
  const algorithm = `ecdsa-sha2-${curve}`
  const point = Buffer.concat([Buffer.of(4), field(publicKey, 'x'), field(publicKey, 'y')])
  return {
    algorithm,
    wire: Buffer.concat([string(algorithm), string(curve), string(point)]),
    sign: (data) => {
      const both = sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
      const numbers = Buffer.concat([mpint(both.subarray(0, size)), mpint(both.subarray(size))])
      return Buffer.concat([string(algorithm), string(numbers)])
    },
  }
}

export function rsaKey(bits: number): TestKey {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: bits })
  return {
    algorithm: 'ssh-rsa',
    wire: Buffer.concat([string('ssh-rsa'), mpint(field(publicKey, 'e')), mpint(field(publicKey, 'n'))]),
    sign: (data, algorithm = 'rsa-sha2-512') => {
      const hash = { 'rsa-sha2-512': 'sha512', 'rsa-sha2-256': 'sha256', 'ssh-rsa': 'sha1' }[algorithm]
      return Buffer.concat([string(algorithm), string(sign(hash, data, privateKey))])
    },
  }
}

/** The wire form of an RSA key with exactly these numbers. */
export function rsaWire(exponent: Buffer, modulus: Buffer): Buffer {
  return Buffer.concat([string('ssh-rsa'), string(exponent), string(modulus)])
}

const Sum = { question: Type.Object({ a: Type.Number(), b: Type.Number() }), answer: Type.Number() }

/** What both ends of the test link may say. */
export const speech = compileSpeech({
  notices: { note: Type.Object({ text: Type.String() }), count: Type.Number() },
  requests: { sum: Sum, never: Sum },
})
export type TestSpeech = (typeof speech)['speech']
export type TestWire = Wire<TestSpeech, TestSpeech>

export interface End {
  code: number
  reason: string
}

export interface Side {
  notices?: Partial<NoticeHandlers<TestSpeech['notices']>>
  requests?: Partial<RequestHandlers<TestSpeech['requests']>>
}

export interface LinkEnd {
  wire: TestWire
  socket: WebSocket
  ends: End[]
}

export interface SocketPair {
  near: WebSocket
  far: WebSocket
  close(): void
}

/** A real WebSocket, near and far end. */
export async function openSockets(): Promise<SocketPair> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', maxPayload: MAX_FRAME_BYTES })
  await once(server, 'listening')
  const near = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'open')])) as [
    [WebSocket],
    unknown,
  ]
  return {
    near,
    far,
    close: () => {
      near.terminate()
      far.terminate()
      server.close()
    },
  }
}

export function wireOver(socket: WebSocket, side: Side = {}): LinkEnd {
  const ends: End[] = []
  const wire: TestWire = new Wire({
    socket,
    sends: speech,
    receives: speech,
    onNotice: { note: () => {}, count: () => {}, ...side.notices },
    onRequest: {
      sum: ({ a, b }) => Promise.resolve(a + b),
      never: () => new Promise(() => {}),
      ...side.requests,
    },
    onClose: (end) => ends.push(end),
    log: silentLog(),
  })
  return { wire, socket, ends }
}

/** Waits until `fact` holds. */
export function until(fact: () => boolean): Promise<void> {
  return vi.waitFor(
    () => {
      if (!fact()) throw new Error(`not yet: ${fact.toString()}`)
    },
    { timeout: 5_000, interval: 5 },
  )
}
