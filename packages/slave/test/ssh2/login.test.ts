import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import net from 'node:net'

import { verifySignature } from '@sshoal/shared/ssh-signature'
import { message, string } from '@sshoal/shared/ssh-wire'
import ssh2 from 'ssh2'
import type { ParsedKey } from 'ssh2'
import { afterEach, describe, expect, it } from 'vitest'

import { generateHostKey } from '../../src/ssh2/index.ts'
import { lasting } from '../../src/ssh2/lasting.ts'
import { loginKey, readAll, sendRaw, startServer, until } from './fixture.ts'
import type { Fixture } from './fixture.ts'
import { rsaKey } from './rsa-key.ts'

let fixture: Fixture
afterEach(() => fixture?.close())

describe('a login', () => {
  it.each(['ed25519', 'ecdsa', 'rsa'] as const)(
    'with a %s key is asked for with a checked signature',
    async (type) => {
      fixture = await startServer()
      await fixture.connect({ privateKey: type === 'rsa' ? rsaKey : generateHostKey(type) })
      const { offers } = fixture.visitors[0]!
      expect(offers.map((offer) => offer.verified)).toEqual([false, true])
      expect(offers[1]?.fingerprint).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/)
      expect(offers[1]?.username).toBe('u')
    },
  )

  it('leaves a key that lies with what else stays, not in memory that Node shares out for a moment', async () => {
    const keys: Buffer[] = []
    fixture = await startServer({ onReady: ({ publicKey }) => void keys.push(publicKey) })
    await fixture.connect()
    await fixture.connect()
    const [first, second] = keys
    expect(first?.equals(second ?? Buffer.alloc(0))).toBe(true)
    expect(first?.buffer).toBe(lasting(Buffer.alloc(0)).buffer)
    expect(second?.buffer).toBe(first?.buffer)
  })

  it('with a signature that does not verify asks nobody and is told to the owner', async () => {
    let bad = 0
    fixture = await startServer({ onBadSignature: () => (bad += 1) })
    const key = ssh2.utils.parseKey(loginKey) as ParsedKey
    const other = ssh2.utils.parseKey(generateHostKey('ed25519')) as ParsedKey
    key.sign = (data: Buffer) => other.sign(data)
    const config = { authHandler: [{ type: 'publickey', username: 'u', key }] as never }
    await expect(fixture.connect(config)).rejects.toThrow()
    expect(bad).toBe(1)
    expect(fixture.visitors[0]?.offers.map((offer) => offer.verified)).toEqual([false])
  })

  it('offers public keys only', async () => {
    fixture = await startServer()
    const client = new ssh2.Client()
    const methods: unknown[] = []
    client.on('error', () => {})
    client.connect({
      host: '127.0.0.1',
      port: fixture.port,
      username: 'u',
      authHandler: (left, partial, next) => {
        methods.push(left, partial)
        next(left === null ? 'none' : (false as never))
      },
    })
    await until(() => methods.length >= 4)
    expect(methods.slice(2)).toEqual([['publickey'], false])
    client.destroy()
  })

  it('shows a banner to the owner of a refused key only', async () => {
    fixture = await startServer({
      authenticate: async (offer) =>
        offer.verified || offer.username === 'stranger'
          ? { outcome: 'refuse', banner: 'not today' }
          : { outcome: 'accept' },
    })
    for (const [username, shown] of [
      ['u', ['not today\n']],
      ['stranger', []],
    ] as const) {
      const client = new ssh2.Client()
      const banners: string[] = []
      client.on('banner', (text) => banners.push(text))
      const failed = new Promise((resolve) => client.on('error', resolve))
      client.connect({ host: '127.0.0.1', port: fixture.port, username, privateKey: loginKey })
      await failed
      expect(banners).toEqual(shown)
      client.destroy()
    }
  })

  it('ends after too many tries, which ssh2 does not count', async () => {
    fixture = await startServer({ authenticate: async () => ({ outcome: 'refuse' }) }, { maxAuthTries: 3 })
    const client = new ssh2.Client()
    client.on('error', () => {})
    client.connect({
      host: '127.0.0.1',
      port: fixture.port,
      username: 'u',
      authHandler: (_left, _partial, next) =>
        next({ type: 'publickey', username: 'u', key: loginKey } as never),
    })
    await until(() => fixture.visitors[0]?.closeCalls === 1)
    expect((await fixture.visitors[0]?.closed)?.code).toBe('TOO_MANY_AUTH_TRIES')
    expect(fixture.visitors[0]?.offers).toHaveLength(3)
    client.destroy()
  })

  it('is over when its hook throws, as a refusal', async () => {
    fixture = await startServer({ authenticate: async () => Promise.reject(new Error('hook')) })
    await expect(fixture.connect()).rejects.toThrow(/authentication/)
  })

  it('answers no request of the connection protocol before it is done', async () => {
    let release = (): void => {}
    const gate = new Promise<void>((resolve) => (release = resolve))
    fixture = await startServer({
      authenticate: async () => {
        await gate
        return { outcome: 'accept' }
      },
    })
    const client = new ssh2.Client()
    client.on('error', () => {})
    client.connect({ host: '127.0.0.1', port: fixture.port, username: 'u', privateKey: loginKey })
    await until(() => fixture.visitors[0]?.offers.length === 1)
    sendRaw(client, message(80, 'keepalive@openssh.com', true))
    expect((await fixture.visitors[0]?.closed)?.code).toBe('PROTOCOL_ERROR')
    release()
    client.destroy()
  })

  it('says what it wants to a peer that does not speak SSH', async () => {
    fixture = await startServer()
    const socket = net.connect(fixture.port, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    expect((await readAll(socket)).toString()).toContain('Invalid SSH identification string.')
  })
})

describe('a signature', () => {
  const data = Buffer.from('signed')

  function token(curve: 'ed25519' | 'p256', flags: number) {
    const application = Buffer.from('ssh:')
    const tail = Buffer.from([flags, 0, 0, 0, 7])
    const hash = (value: Buffer) => createHash('sha256').update(value).digest()
    const signed = Buffer.concat([hash(application), tail, hash(data)])
    if (curve === 'ed25519') {
      const { publicKey, privateKey } = generateKeyPairSync('ed25519')
      const point = Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url')
      const algorithm = 'sk-ssh-ed25519@openssh.com'
      const wire = Buffer.concat([string(algorithm), string(point), string(application)])
      return {
        algorithm,
        wire,
        signature: Buffer.concat([string(algorithm), string(sign(null, signed, privateKey)), tail]),
      }
    }
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const jwk = publicKey.export({ format: 'jwk' })
    const point = Buffer.concat([
      Buffer.of(4),
      Buffer.from(jwk.x!, 'base64url'),
      Buffer.from(jwk.y!, 'base64url'),
    ])
    const algorithm = 'sk-ecdsa-sha2-nistp256@openssh.com'
    const both = sign('sha256', signed, { key: privateKey, dsaEncoding: 'ieee-p1363' })
    const numbers = [both.subarray(0, 32), both.subarray(32)].map((half) =>
      string(Buffer.concat([Buffer.of(0), half])),
    )
    return {
      algorithm,
      wire: Buffer.concat([string(algorithm), string('nistp256'), string(point), string(application)]),
      signature: Buffer.concat([string(algorithm), string(Buffer.concat(numbers)), tail]),
    }
  }

  it.each(['ed25519', 'p256'] as const)('of a FIDO %s key needs the touch of its user', (curve) => {
    const touched = token(curve, 1)
    expect(verifySignature(touched.algorithm, touched.wire, data, touched.signature)).toBe(true)
    expect(verifySignature(touched.algorithm, touched.wire, Buffer.from('x'), touched.signature)).toBe(false)
    const untouched = token(curve, 0)
    expect(verifySignature(untouched.algorithm, untouched.wire, data, untouched.signature)).toBe(false)
  })

  it('with SHA-1 or a small RSA key is none', () => {
    for (const [bits, algorithm, hash, good] of [
      [2048, 'rsa-sha2-256', 'sha256', true],
      [2048, 'ssh-rsa', 'sha1', false],
      [1024, 'rsa-sha2-256', 'sha256', false],
    ] as const) {
      const privateKey =
        bits === 2048
          ? createPrivateKey(rsaKey)
          : generateKeyPairSync('rsa', { modulusLength: bits }).privateKey
      const jwk = createPublicKey(privateKey).export({ format: 'jwk' })
      const n = Buffer.concat([Buffer.of(0), Buffer.from(jwk.n!, 'base64url')])
      const wire = Buffer.concat([string('ssh-rsa'), string(Buffer.from(jwk.e!, 'base64url')), string(n)])
      const signature = Buffer.concat([string(algorithm), string(sign(hash, data, privateKey))])
      expect(verifySignature(algorithm, wire, data, signature)).toBe(good)
    }
  })

  it('that is garbage is refused, not thrown', () => {
    expect(verifySignature('ssh-ed25519', Buffer.alloc(3), data, Buffer.alloc(2))).toBe(false)
  })
})
