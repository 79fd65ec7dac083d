import { randomBytes } from 'node:crypto'
import { once } from 'node:events'

import { WireReader, message } from '@sshoal/shared/ssh-wire'
import type { Client, ClientChannel } from 'ssh2'
import { afterEach, describe, expect, it, vi } from 'vitest'

import type { SshChannel, VisitEnd } from '../../src/ssh2/index.ts'
import { FIRST_WINDOW_BYTES } from '../../src/ssh2/receive-window.ts'
import {
  FORWARD,
  memory,
  openVisit,
  ORIGIN,
  readAll,
  sendRaw,
  socketPair,
  startRawDevice,
  startServer,
  until,
} from './fixture.ts'
import type { Fixture } from './fixture.ts'

let fixture: Fixture
afterEach(() => fixture?.close())

async function device(onVisit: (stream: ClientChannel) => void): Promise<Client> {
  fixture = await startServer({ onForward: async () => 4000 })
  const client = await fixture.connect()
  await new Promise<void>((resolve, reject) =>
    client.forwardIn('', 4000, (error) => (error ? reject(error) : resolve())),
  )
  client.on('tcp connection', (_info, accept) => onVisit(accept()))
  return client
}

const visit = () => openVisit(fixture)
const rawDevice = async (window: number, onPacket: Parameters<typeof startRawDevice>[2]): Promise<Client> => {
  fixture = await startServer()
  return startRawDevice(fixture, window, onPacket)
}

describe('a visit', () => {
  it('gets 1 MiB echoed whole after its half-close', async () => {
    await device((stream) => {
      stream.on('data', (data: Buffer) => stream.write(data))
      stream.on('end', () => stream.end())
    })
    const { visitor, end } = await visit()
    const sent = randomBytes(1_048_581)
    visitor.end(sent)
    expect((await readAll(visitor)).equals(sent)).toBe(true)
    expect(await end).toEqual({
      bytesToChannel: sent.length,
      bytesFromChannel: sent.length,
      reason: 'finished',
    })
  })

  it('gives a slow visitor all that the device sent, however long ago the device closed', async () => {
    const sent = randomBytes(16 * 1024 * 1024)
    let close = (): void => {}
    await device((stream) => {
      stream.write(sent)
      close = () => stream.close()
    })
    const { visitor, end, near } = await visit()
    visitor.pause()
    // Both systems and the window of the visit are full.
    let before = -1
    await until(() => {
      const full = near.writableLength > 0 && near.bytesWritten === before
      before = near.bytesWritten
      return full
    })
    close()
    const gone = once(near, 'close').then(() => 'gone')
    const waited = new Promise<string>((resolve) => setTimeout(resolve, 2_500, 'waited'))
    expect(await Promise.race([gone, waited])).toBe('waited')
    visitor.resume()
    const got = await readAll(visitor)
    visitor.end()
    expect(got.length).toBe((await end).bytesFromChannel)
    expect(got.equals(sent.subarray(0, got.length))).toBe(true)
  })

  it('sends EOF after the last byte also through a window of 16 KB', async () => {
    const got: Buffer[] = []
    let eof = false
    await rawDevice(16_384, (client, payload) => {
      const fields = new WireReader(payload, 5)
      if (payload[0] === 94) {
        const data = Buffer.from(fields.string())
        got.push(data)
        expect(eof).toBe(false)
        setImmediate(() => sendRaw(client, message(93, 0, data.length)))
      } else if (payload[0] === 96) {
        eof = true
        // What the echo still has to say comes after it heard the EOF.
        for (const data of got) sendRaw(client, message(94, 0, data))
        sendRaw(client, message(96, 0))
        sendRaw(client, message(97, 0))
      }
    })
    const { visitor, end } = await visit()
    const sent = randomBytes(70_000)
    visitor.end(sent)
    expect((await readAll(visitor)).equals(sent)).toBe(true)
    expect((await end).reason).toBe('finished')
  })

  it('whose device closes without EOF still brings what was sent before', async () => {
    const sent = randomBytes(100_000)
    await rawDevice(1000, (client, payload) => {
      if (payload[0] !== 94) return
      for (let at = 0; at < sent.length; at += 30_000) {
        sendRaw(client, message(94, 0, sent.subarray(at, at + 30_000)))
      }
      sendRaw(client, message(97, 0))
    })
    const { visitor, end } = await visit()
    visitor.write('go')
    expect((await readAll(visitor)).equals(sent)).toBe(true)
    visitor.end()
    expect((await end).reason).toBe('channel-closed')
  })

  it('that was left before its channel opened ends', async () => {
    await device((stream) => stream.on('end', () => stream.end()).resume())
    const [visitor, near] = await socketPair()
    visitor.end()
    near.resume()
    await once(near, 'end')
    const channel = await fixture.visitors[0]!.connection.openForwarded(FORWARD, ORIGIN)
    expect((await channel.pump(near)).reason).toBe('finished')
  })

  it('cut by its visitor closes the channel', async () => {
    let closed = false
    await device((stream) => stream.on('close', () => (closed = true)).resume())
    const { visitor, end } = await visit()
    visitor.resetAndDestroy()
    expect((await end).reason).toBe('socket-error')
    await until(() => closed)
  })

  it('ends with its channel destroyed and with its connection', async () => {
    await device((stream) => stream.resume())
    const [, near] = await socketPair()
    const { connection } = fixture.visitors[0]!
    const channel = await connection.openForwarded(FORWARD, ORIGIN)
    const end = channel.pump(near)
    channel.destroy()
    expect((await end).reason).toBe('destroyed')
    const other = await visit()
    connection.destroy()
    expect((await other.end).reason).toBe('channel-closed')
    expect(other.near.destroyed).toBe(true)
  })

  it('that is stalled does not stall another', async () => {
    const streams: ClientChannel[] = []
    await device((stream) => streams.push(stream))
    const stalled = await visit()
    stalled.visitor.write(Buffer.alloc(8 * 1024 * 1024))
    stalled.visitor.pause()
    await until(() => streams.length === 1)
    streams[0]!.pause()
    streams[0]!.write(Buffer.alloc(8 * 1024 * 1024))
    const lively = await visit()
    await until(() => streams.length === 2)
    streams[1]!.on('data', (data: Buffer) => streams[1]!.write(data))
    streams[1]!.on('end', () => streams[1]!.end())
    lively.visitor.end('ping')
    expect((await readAll(lively.visitor)).toString()).toBe('ping')
  })

  it('that is fast is given a large window while it is the only one of its device', async () => {
    const block = Buffer.alloc(32_000)
    let credit = FIRST_WINDOW_BYTES
    const given: number[] = []
    const sendAll = (client: Client): void => {
      for (; credit >= block.length; credit -= block.length) sendRaw(client, message(94, 0, block))
    }
    const client = await rawDevice(1000, (_client, payload) => {
      const fields = new WireReader(payload, 1)
      const id = fields.uint32()
      if (payload[0] === 96 || payload[0] === 97) sendRaw(client, message(payload[0], id))
      if (payload[0] !== 93 || id !== 0) return
      given.push(fields.uint32())
      credit += given.at(-1) ?? 0
      setImmediate(() => sendAll(client))
    })
    const { visitor } = await visit()
    visitor.resume()
    // However busy this machine is.
    const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now())
    sendAll(client)
    await until(() => (given.at(-1) ?? 0) > FIRST_WINDOW_BYTES, 'a large window')
    const { visitor: other } = await visit()
    const before = given.length
    await until(() => given.length > before + 10, 'small windows')
    expect(Math.max(...given.slice(-5))).toBeLessThanOrEqual(FIRST_WINDOW_BYTES)
    other.destroy()
    await until(() => (given.at(-1) ?? 0) > FIRST_WINDOW_BYTES, 'a large window again')
    clock.mockRestore()
  })

  it('that sends beyond its window is cut before it costs memory', async () => {
    const client = await rawDevice(1000, () => {})
    const { visitor } = await visit()
    visitor.pause()
    const before = memory()
    const data = message(94, 0, Buffer.alloc(30_000))
    for (let i = 0; i < 400; i++) sendRaw(client, data)
    const error = await fixture.visitors[0]!.closed
    expect(error?.code).toBe('WINDOW_ABUSE')
    expect(memory() - before).toBeLessThan(32 * 1024 * 1024)
  })

  it('between two channels passes bytes, half-close and the end', async () => {
    const targets: SshChannel[] = []
    let joined: Promise<VisitEnd> | undefined
    fixture = await startServer({
      onForward: async () => 4000,
      onDirect: async () => {
        const target = await fixture.visitors[0]!.connection.openForwarded(FORWARD, ORIGIN)
        return {
          outcome: 'accept',
          abandoned: () => {},
          opened: (channel) => {
            targets.push(target)
            joined = channel.join(target)
          },
        }
      },
    })
    const echo = await fixture.connect()
    await new Promise<void>((resolve) => echo.forwardIn('', 4000, () => resolve()))
    echo.on('tcp connection', (_info, accept) => {
      const stream = accept()
      stream.on('data', (data: Buffer) => stream.write(data))
      stream.on('end', () => stream.end())
    })
    const user = await fixture.connect()
    const stream = await new Promise<ClientChannel>((resolve, reject) =>
      user.forwardOut('127.0.0.1', 1, 'device', 22, (error, channel) =>
        error ? reject(error) : resolve(channel),
      ),
    )
    const sent = randomBytes(5_000_000)
    stream.end(sent)
    expect((await readAll(stream)).equals(sent)).toBe(true)
    expect(await joined).toEqual({
      bytesToChannel: sent.length,
      bytesFromChannel: sent.length,
      reason: 'finished',
    })
  })
})
