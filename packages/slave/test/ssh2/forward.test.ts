import { once } from 'node:events'

import { WireReader, message } from '@sshoal/shared/ssh-wire'
import type { Client } from 'ssh2'
import { afterEach, describe, expect, it } from 'vitest'

import { ChannelOpenError } from '../../src/ssh2/index.ts'
import type { ForwardRequest } from '../../src/ssh2/index.ts'
import { sendRaw, startServer, tap, until } from './fixture.ts'
import type { Fixture } from './fixture.ts'

let fixture: Fixture
afterEach(() => fixture?.close())

function replies(client: Client): Buffer[] {
  const seen: Buffer[] = []
  tap(client, (payload) => {
    if (payload[0] !== 81 && payload[0] !== 82) return false
    seen.push(Buffer.from(payload))
    return true
  })
  return seen
}

describe('a global request', () => {
  it('for port 0 is told the port, for a port is told nothing', async () => {
    fixture = await startServer({ onForward: async ({ bindPort }) => bindPort || 4711 })
    const client = await fixture.connect()
    const seen = replies(client)
    sendRaw(client, message(80, 'tcpip-forward', true, '', 0))
    sendRaw(client, message(80, 'tcpip-forward', true, 'LocalHost', 2222))
    await until(() => seen.length === 2)
    expect(seen).toEqual([message(81, 4711), message(81)])
  })

  it('is answered in the order of the requests, whatever takes long', async () => {
    const asked: ForwardRequest[] = []
    fixture = await startServer({
      onForward: async (request) => {
        asked.push(request)
        await new Promise((resolve) => setTimeout(resolve, request.bindPort === 1 ? 50 : 0))
        return request.bindPort === 3 ? null : request.bindPort
      },
    })
    const client = await fixture.connect()
    const seen = replies(client)
    for (const port of [1, 2, 3]) sendRaw(client, message(80, 'tcpip-forward', true, 'Name', port))
    sendRaw(client, message(80, 'keepalive@openssh.com', true))
    sendRaw(client, message(80, 'no-more-sessions@openssh.com', false))
    sendRaw(client, message(80, 'tcpip-forward', true, '*', 4))
    await until(() => seen.length === 5)
    expect(seen.map((payload) => payload[0])).toEqual([81, 81, 82, 82, 81])
    expect(asked[0]).toEqual({ bindAddress: 'Name', bindPort: 1 })
  })

  it('whose handler throws is refused', async () => {
    fixture = await startServer({ onForward: () => Promise.reject(new Error('no')) })
    const client = await fixture.connect()
    const seen = replies(client)
    sendRaw(client, message(80, 'tcpip-forward', true, '', 1))
    await until(() => seen.length === 1)
    expect(seen[0]?.[0]).toBe(82)
  })

  it('to cancel without a reply is carried out and not answered', async () => {
    const cancelled: ForwardRequest[] = []
    fixture = await startServer({
      onCancelForward: async (request) => {
        cancelled.push(request)
        return true
      },
    })
    const client = await fixture.connect()
    const seen = replies(client)
    sendRaw(client, message(80, 'cancel-tcpip-forward', false, 'localhost', 22))
    sendRaw(client, message(80, 'cancel-tcpip-forward', true, 'localhost', 23))
    await until(() => seen.length === 1)
    expect(cancelled.map((request) => request.bindPort)).toEqual([22, 23])
    expect(seen[0]?.[0]).toBe(81)
  })

  it('of the client moves the sign of life', async () => {
    fixture = await startServer()
    const client = await fixture.connect()
    const { connection } = fixture.visitors[0]!
    const seen = replies(client)
    const before = connection.lastHeardAt
    sendRaw(client, message(80, 'keepalive@openssh.com', true))
    await until(() => seen.length === 1)
    expect(connection.lastHeardAt).toBeGreaterThan(before)
  })

  it('in thousands at once is cut, not collected', async () => {
    fixture = await startServer({ onForward: () => new Promise(() => {}) })
    const client = await fixture.connect()
    for (let i = 0; i < 2000; i++) sendRaw(client, message(80, 'tcpip-forward', true, '', 0))
    expect((await fixture.visitors[0]?.closed)?.code).toBe('BUFFER_LIMIT')
  })
})

describe('a channel', () => {
  it('of a forward repeats the address of the request, letter by letter', async () => {
    fixture = await startServer({ onForward: async () => 5000 })
    const client = await fixture.connect()
    let open: Buffer | undefined
    tap(client, (payload) => {
      if (payload[0] !== 90) return false
      open = Buffer.from(payload)
      return true
    })
    const { connection } = fixture.visitors[0]!
    const forward = { bindAddress: 'LocalHost', bindPort: 5000 }
    void connection.openForwarded(forward, { address: '192.0.2.1', port: 99 }).catch(() => {})
    await until(() => open !== undefined)
    const fields = new WireReader(open!, 1)
    expect(fields.text()).toBe('forwarded-tcpip')
    const sender = fields.uint32()
    expect([fields.uint32(), fields.uint32()]).toEqual([512 * 1024, 32 * 1024])
    expect([fields.text(), fields.uint32(), fields.text(), fields.uint32()]).toEqual([
      'LocalHost',
      5000,
      '192.0.2.1',
      99,
    ])
    sendRaw(client, message(92, sender, 2, 'Connection refused', ''))
  })

  it('that the client refuses says why', async () => {
    fixture = await startServer()
    const client = await fixture.connect()
    tap(client, (payload) => {
      if (payload[0] !== 90) return false
      const fields = new WireReader(payload, 1)
      fields.text()
      sendRaw(client, message(92, fields.uint32(), 2, 'Connection refused', ''))
      return true
    })
    const { connection } = fixture.visitors[0]!
    const opened = connection.openForwarded({ bindAddress: '', bindPort: 1 }, { address: 'x', port: 1 })
    await expect(opened).rejects.toThrow('Connection refused')
    await expect(opened).rejects.toBeInstanceOf(ChannelOpenError)
    await expect(opened).rejects.toMatchObject({ code: 2 })
  })

  it('on a dead connection is rejected and never thrown, and the other calls do nothing', async () => {
    fixture = await startServer()
    const client = await fixture.connect()
    const { connection, closed } = fixture.visitors[0]!
    const forward = { bindAddress: '', bindPort: 1 }
    const pending = connection.openForwarded(forward, { address: 'x', port: 1 })
    // A packet that is no packet: fatal to the transport.
    ;(client as unknown as { _sock: NodeJS.WritableStream })._sock.write(Buffer.alloc(64, 0xff))
    await expect(pending).rejects.toMatchObject({ code: 2 })
    expect((await closed)?.code).toBe('PROTOCOL_ERROR')
    const after = connection.openForwarded(forward, { address: 'x', port: 1 })
    await expect(after).rejects.toBeInstanceOf(ChannelOpenError)
    connection.ping()
    connection.disconnect('again')
    connection.destroy()
    expect(fixture.visitors[0]?.closeCalls).toBe(1)
  })

  it('to an address that is refused says the text', async () => {
    fixture = await startServer({ onDirect: async () => ({ outcome: 'refuse', text: 'no such device' }) })
    const client = await fixture.connect()
    const error = await new Promise<Error & { reason?: number }>((resolve) =>
      client.forwardOut('127.0.0.1', 1, 'device', 22, (failure) => resolve(failure!)),
    )
    expect(error.message).toContain('no such device')
    expect(error.reason).toBe(1)
  })

  it('to an address is refused by name however many were refused before', async () => {
    fixture = await startServer({ onDirect: async () => ({ outcome: 'refuse', text: 'no such device' }) })
    const client = await fixture.connect()
    const reasons: number[] = []
    tap(client, (payload) => {
      if (payload[0] !== 92) return false
      reasons.push(payload.readUInt32BE(5))
      return true
    })
    for (let i = 0; i < 1_500; i++) {
      sendRaw(client, message(90, 'direct-tcpip', i, 1000, 32768, 'device', 22, '127.0.0.1', 1))
      if (i % 100 === 99) await until(() => reasons.length === i + 1)
    }
    expect(new Set(reasons)).toEqual(new Set([1]))
  })

  it('of an unknown type and an eleventh session are refused', async () => {
    fixture = await startServer()
    const client = await fixture.connect()
    const seen: number[] = []
    tap(client, (payload) => {
      if (payload[0] !== 91 && payload[0] !== 92) return false
      seen.push(payload[0])
      return true
    })
    sendRaw(client, message(90, 'x11', 7, 1000, 32768))
    for (let i = 0; i < 11; i++) sendRaw(client, message(90, 'session', i, 1000, 32768))
    await until(() => seen.length === 12)
    expect(seen).toEqual([92, ...Array.from({ length: 10 }, () => 91), 92])
  })

  it('nobody asked for is a breach of the protocol', async () => {
    fixture = await startServer()
    const client = await fixture.connect()
    sendRaw(client, message(91, 77, 0, 1000, 32768))
    expect((await fixture.visitors[0]?.closed)?.code).toBe('PROTOCOL_ERROR')
    await once(client, 'close')
  })
})
