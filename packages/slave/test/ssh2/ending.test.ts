import { once } from 'node:events'
import net from 'node:net'

import { message } from '@sshoal/shared/ssh-wire'
import { afterEach, describe, expect, it } from 'vitest'

import { createSshServer, generateHostKey } from '../../src/ssh2/index.ts'
import { hostKey, readAll, sendRaw, startServer, tap, until } from './fixture.ts'
import type { Fixture } from './fixture.ts'

let fixture: Fixture
afterEach(() => fixture?.close())

describe('a connection', () => {
  it('tells why it is ended', async () => {
    fixture = await startServer()
    const client = await fixture.connect()
    let text = ''
    tap(client, (payload) => {
      if (payload[0] !== 1) return false
      text = payload.toString('utf8', 9, 9 + payload.readUInt32BE(5))
      return true
    })
    fixture.visitors[0]!.connection.disconnect('moved to another slave')
    await until(() => text !== '')
    expect(text).toBe('moved to another slave')
  })

  it('is destroyed a second after its end, also when the peer never closes', async () => {
    fixture = await startServer()
    const socket = net.connect({ host: '127.0.0.1', port: fixture.port, allowHalfOpen: true })
    await until(() => fixture.visitors.length === 1)
    const visitor = fixture.visitors[0]!
    const begun = performance.now()
    visitor.connection.disconnect('bye')
    await visitor.closed
    expect(performance.now() - begun).toBeLessThan(1500)
    expect(visitor.connection.socket.destroyed).toBe(true)
    socket.destroy()
  })

  it('is gone at once when destroyed, and says so once', async () => {
    fixture = await startServer()
    await fixture.connect()
    const visitor = fixture.visitors[0]!
    visitor.connection.destroy()
    visitor.connection.destroy()
    await new Promise((resolve) => process.nextTick(resolve))
    expect(visitor.closeCalls).toBe(1)
    expect((await visitor.closed)?.code).toBe('DESTROYED')
    await until(() => visitor.connection.socket.closed)
    expect(visitor.closeCalls).toBe(1)
  })

  it('ends in order when the client says goodbye or closes', async () => {
    fixture = await startServer()
    const client = await fixture.connect()
    client.end()
    expect(await fixture.visitors[0]!.closed).toBeUndefined()
    const socket = net.connect({ host: '127.0.0.1', port: fixture.port, allowHalfOpen: true })
    socket.end('SSH-2.0-x\r\n')
    socket.resume()
    await until(() => fixture.visitors.length === 2)
    expect(await fixture.visitors[1]!.closed).toBeUndefined()
    expect(fixture.visitors[1]!.connection.socket.destroyed).toBe(true)
    socket.destroy()
  })

  it('has TCP_NODELAY and takes bytes that were read already', async () => {
    const delays: boolean[] = []
    const server = createSshServer({ hostKeys: [hostKey], algorithms: 'modern', software: 'x' })
    const idents: string[] = []
    const listener = net.createServer({ pauseOnConnect: true }, (socket) => {
      const setNoDelay = socket.setNoDelay.bind(socket)
      socket.setNoDelay = (on) => {
        delays.push(on !== false)
        return setNoDelay(on)
      }
      const handlers = {
        onIdent: (software: string) => void idents.push(software),
        authenticate: () => Promise.reject(new Error('unused')),
        onBadSignature: () => {},
        onReady: () => {},
        onForward: async () => null,
        onCancelForward: async () => false,
        onDirect: () => Promise.reject(new Error('unused')),
        onShell: async () => undefined,
        onClose: () => {},
      }
      server.accept(socket, handlers, Buffer.from('SSH-2.0-early'))
    })
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const socket = net.connect((listener.address() as net.AddressInfo).port, '127.0.0.1')
    socket.write('_bird\r\n')
    await until(() => idents.length === 1)
    expect(idents).toEqual(['early_bird'])
    expect(delays).toEqual([true])
    socket.destroy()
    listener.close()
    fixture = await startServer()
  })

  it('exchanges keys again by itself and loses nothing', async () => {
    fixture = await startServer({ onForward: async () => 4000 }, { rekeyBytes: 256 * 1024 })
    const client = await fixture.connect()
    let rekeys = 0
    client.on('handshake', () => (rekeys += 1))
    await new Promise<void>((resolve) => client.forwardIn('', 4000, () => resolve()))
    client.on('tcp connection', (_info, accept) => {
      const stream = accept()
      stream.on('data', (data: Buffer) => stream.write(data))
      stream.on('end', () => stream.end())
    })
    const listener = net.createServer({ allowHalfOpen: true }, (socket) => {
      const { connection } = fixture.visitors[0]!
      const forward = { bindAddress: '', bindPort: 4000 }
      void connection
        .openForwarded(forward, { address: 'x', port: 1 })
        .then((channel) => channel.pump(socket))
    })
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const { port } = listener.address() as net.AddressInfo
    const visitor = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    const sent = Buffer.alloc(3_000_000, 'rekey')
    visitor.end(sent)
    expect((await readAll(visitor)).equals(sent)).toBe(true)
    expect(rekeys).toBeGreaterThan(1)
    listener.close()
  })

  it('of a client that asks and never reads is cut', { timeout: 60_000 }, async () => {
    fixture = await startServer({}, { maxUnsentBytes: 512 * 1024 })
    const client = await fixture.connect()
    const socket = (client as unknown as { _sock: net.Socket })._sock
    socket.pause()
    const before = process.memoryUsage().rss
    const ping = message(80, 'keepalive@openssh.com', true)
    const visitor = fixture.visitors[0]!
    for (let i = 0; i < 400 && visitor.closeCalls === 0; i++) {
      for (let j = 0; j < 1000; j++) sendRaw(client, ping)
      await new Promise((resolve) => setImmediate(resolve))
      if (socket.writableLength > 4 * 1024 * 1024) break
    }
    // Either it was cut, or it is no longer read: both bound what it costs.
    const { connection } = visitor
    expect(connection.socket.writableLength).toBeLessThan(1024 * 1024 + 64 * 1024)
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024)
    socket.destroy()
  })

  it('gets new host keys from the next one on', async () => {
    const other = generateHostKey('ecdsa')
    const server = createSshServer({ hostKeys: [hostKey], algorithms: 'modern', software: 'x' })
    expect(() => server.setHostKeys(['broken'])).toThrow(
      expect.objectContaining({ code: 'HOST_KEY_INVALID' }),
    )
    server.setHostKeys([other])
    fixture = await startServer()
  })
})
