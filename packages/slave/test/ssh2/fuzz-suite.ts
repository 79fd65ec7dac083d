// Malformed packets against an engine in this process: a few in every check, and many in the end-to-end tests.
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'

import * as fc from 'fast-check'
import ssh2 from 'ssh2'
import type { Client } from 'ssh2'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { loginKey, packet, sendRaw, startServer, until } from './fixture.ts'
import type { Fixture } from './fixture.ts'

let fixture: Fixture
let recording: Buffer
const breaches: unknown[] = []
const onBreach = (error: unknown): void => void breaches.push(error)

/** What a real client sends from its first byte to its first channel. */
async function record(port: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  const relay = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1')
    near.on('error', () => {}).on('data', (chunk: Buffer) => chunks.push(chunk))
    far.on('error', () => {})
    near.pipe(far).pipe(near)
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  const client = await fixture.connect({ port: (relay.address() as AddressInfo).port, privateKey: loginKey })
  client.end()
  await once(client, 'close')
  relay.close()
  return Buffer.concat(chunks)
}

/** Keys are in use, nobody is logged in. */
async function connectOnly(): Promise<Client> {
  const client = new ssh2.Client()
  client.on('error', () => {})
  const handshake = once(client, 'handshake')
  client.connect({ host: '127.0.0.1', port: fixture.port, username: 'u', authHandler: () => {} })
  await handshake
  return client
}

async function send(data: Buffer): Promise<void> {
  const socket = net.connect(fixture.port, '127.0.0.1')
  socket.on('error', () => {}).resume()
  await once(socket, 'connect')
  socket.end(data)
  await once(socket, 'close')
}

/** `recordings` that were changed, and `conversations` in each state. */
export function describeFuzz(recordings: number, conversations: number): void {
  describe('a malformed packet never ends the process', () => {
    beforeAll(async () => {
      fixture = await startServer({
        onForward: async () => 4000,
        onShell: async () => ({ text: 'hello' }),
      })
      recording = await record(fixture.port)
      process.on('uncaughtException', onBreach)
      process.on('unhandledRejection', onBreach)
    })

    afterAll(async () => {
      process.off('uncaughtException', onBreach)
      process.off('unhandledRejection', onBreach)
      await fixture.close()
    })

    it('before the keys are in use, in any byte of a real recording', async () => {
      const mutation = fc.record({
        at: fc.nat({ max: recording.length - 1 }),
        bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
        cut: fc.nat({ max: 60 }),
      })
      await fc.assert(
        fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
          let data = Buffer.from(recording)
          for (const { at, bytes, cut } of mutations) {
            data = Buffer.concat([data.subarray(0, at), bytes, data.subarray(at + cut)])
          }
          await send(data)
          expect(breaches).toEqual([])
        }),
        { numRuns: recordings },
      )
    })

    it.each(['a key exchange', 'a login', 'a session'])(
      'in the messages of %s',
      { timeout: 60_000 },
      async (state) => {
        const payload = fc
          .tuple(
            fc.oneof(
              fc.constantFrom(1, 2, 3, 4, 5, 7, 20, 21, 30, 31, 50, 60, 61, 80, 81, 82),
              fc.integer({ min: 90, max: 100 }),
              fc.nat({ max: 255 }),
            ),
            fc.array(
              fc.oneof(
                fc.constantFrom(
                  ...[
                    'session',
                    'direct-tcpip',
                    'tcpip-forward',
                    'shell',
                    'pty-req',
                    'publickey',
                    'signal',
                  ].map((name) => Buffer.concat([Buffer.of(0, 0, 0, name.length), Buffer.from(name)])),
                  Buffer.of(0, 0, 0, 0),
                  Buffer.of(0, 0, 0, 1),
                  Buffer.of(0xff, 0xff, 0xff, 0xff),
                  Buffer.of(0, 0, 0x80, 0),
                  Buffer.of(1),
                ),
                fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
              ),
              { maxLength: 8 },
            ),
          )
          .map(([type, fields]) => Buffer.concat([Buffer.of(type), ...fields]))
        await fc.assert(
          fc.asyncProperty(fc.array(payload, { minLength: 1, maxLength: 20 }), async (payloads) => {
            const known = fixture.visitors.length
            if (state === 'a key exchange') {
              await send(Buffer.concat([Buffer.from('SSH-2.0-fuzz\r\n'), ...payloads.map(packet)]))
            } else {
              const client = state === 'a login' ? await connectOnly() : await fixture.connect()
              for (const message of payloads) sendRaw(client, message)
              fixture.visitors[known]!.connection.ping()
              await new Promise((resolve) => setImmediate(resolve))
              client.destroy()
            }
            await until(() => fixture.visitors.length > known)
            const visitor = fixture.visitors[known]!
            await until(() => visitor.closeCalls === 1)
            expect(breaches).toEqual([])
          }),
          { numRuns: conversations },
        )
      },
    )
  })
}
