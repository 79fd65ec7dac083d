// Our engine on both ends, as two slaves speak to each other.
import net from 'node:net'

import { message } from '@sshoal/shared/ssh-wire'
import { afterEach, describe, expect, it } from 'vitest'

import { Channels } from '../../src/ssh2/channels.ts'
import { connectSsh, generateHostKey, hostKeyPublic } from '../../src/ssh2/index.ts'
import type {
  ChannelOpenError,
  DirectVerdict,
  SshClient,
  SshClientOptions,
  SshConnectionHandlers,
  SshEndError,
  SshServerOptions,
} from '../../src/ssh2/index.ts'
import type { Transport } from '../../src/ssh2/transport.ts'
import { hostKey, loginKey, readAll, socketPair, startServer, until, type Fixture } from './fixture.ts'
import { rsaKey } from './rsa-key.ts'

let fixture: Fixture
const clients: SshClient[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy()
  await fixture.close()
})

const wire = (key: string): Buffer => hostKeyPublic(key).publicKey

async function start(
  handlers: Partial<SshConnectionHandlers> = {},
  options: Partial<SshServerOptions> = {},
): Promise<void> {
  fixture = await startServer(handlers, options)
}

async function dial(
  options: Partial<SshClientOptions> = {},
): Promise<{ client: SshClient; ended: Promise<SshEndError | undefined> }> {
  const socket = net.connect({ host: '127.0.0.1', port: fixture.port, noDelay: true })
  let close = (_error: SshEndError | undefined): void => {}
  const ended = new Promise<SshEndError | undefined>((resolve) => (close = resolve))
  const ready = new Promise<void>((resolve, reject) => {
    const client = connectSsh(
      socket,
      {
        privateKey: loginKey,
        username: 's2',
        hostKeys: [wire(hostKey)],
        software: 'sshoal_test',
        ...options,
      },
      {
        onReady: resolve,
        onClose: (error) => {
          close(error)
          reject(new Error(error?.message ?? 'closed'))
        },
      },
    )
    clients.push(client)
  })
  await ready
  return { client: clients.at(-1)!, ended }
}

/** A visit that ends in one socket of a pair; the other is the far end. */
function toSocket(socket: net.Socket): DirectVerdict {
  return { outcome: 'accept', abandoned: () => {}, opened: (channel) => void channel.pump(socket) }
}

describe('the client of our own engine', () => {
  for (const type of ['ed25519', 'ecdsa', 'rsa'] as const) {
    it(`logs in with a ${type} key at a server that shows one`, async () => {
      const key = type === 'rsa' ? rsaKey : generateHostKey(type)
      await start({}, { hostKeys: [key] })
      await dial({ privateKey: key, hostKeys: [wire(hostKey), wire(key)] })
      expect(fixture.visitors[0]?.offers.at(-1)).toMatchObject({
        username: 's2',
        publicKey: wire(key),
        verified: true,
      })
    })
  }

  it('talks to nobody who shows another host key', async () => {
    await start()
    await expect(dial({ hostKeys: [wire(generateHostKey('ed25519'))] })).rejects.toThrow('Host denied')
    expect(fixture.visitors[0]?.offers).toEqual([])
  })

  it('reads why it is not let in', async () => {
    await start({ authenticate: async () => ({ outcome: 'refuse', banner: 'no slave that I know' }) })
    await expect(dial()).rejects.toThrow('no slave that I know')
  })

  it('opens visits, and passes bytes and half-close both ways', async () => {
    const [near, far] = await socketPair()
    const payloads: string[] = []
    await start({
      onVisit: async (payload) => {
        payloads.push(payload.toString())
        return toSocket(far)
      },
    })
    const { client } = await dial()
    const channel = await client.openVisit(Buffer.from('{"target":"pi"}'))
    const [mine, inner] = await socketPair()
    const pumped = channel.pump(inner)
    const up = readAll(near)
    const down = readAll(mine)
    mine.end(Buffer.alloc(3_000_000, 1))
    expect((await up).length).toBe(3_000_000)
    near.end(Buffer.alloc(3_000_000, 2))
    expect((await down).length).toBe(3_000_000)
    await expect(pumped).resolves.toMatchObject({ reason: 'finished', bytesToChannel: 3_000_000 })
    expect(payloads).toEqual(['{"target":"pi"}'])
  })

  it('is told why a visit is refused, and opens nothing where visits are not known', async () => {
    await start({ onVisit: async () => ({ outcome: 'refuse', text: 'elsewhere', code: 4_261_412_865 }) })
    const { client } = await dial()
    await expect(client.openVisit(Buffer.from('x'))).rejects.toMatchObject({
      message: 'elsewhere',
      code: 4_261_412_865,
    } satisfies Partial<ChannelOpenError>)
    await fixture.close()
    await start()
    const { client: other } = await dial()
    await expect(other.openVisit(Buffer.from('x'))).rejects.toThrow('no channels of type visit@sshoal')
  })

  it('exchanges keys again while bytes flow, at the wish of the server', async () => {
    const [near, far] = await socketPair()
    await start({ onVisit: async () => toSocket(far) }, { rekeyBytes: 256 * 1024 })
    const { client } = await dial()
    const channel = await client.openVisit(Buffer.from('x'))
    const [mine, inner] = await socketPair()
    void channel.pump(inner)
    near.pipe(near)
    const down = readAll(mine)
    const sent = Buffer.alloc(4 * 1024 * 1024, 'sshoal')
    mine.end(sent)
    expect((await down).equals(sent)).toBe(true)
  })

  it('hears of the end of the server, and answers its keepalives', async () => {
    await start()
    const { client, ended } = await dial()
    const { connection } = fixture.visitors[0]!
    const before = connection.lastHeardAt
    connection.ping()
    await until(() => connection.lastHeardAt > before)
    const heard = client.lastHeardAt
    client.ping()
    await until(() => client.lastHeardAt > heard)
    connection.disconnect('good-bye')
    await ended
    await expect(client.openVisit(Buffer.from('x'))).rejects.toThrow('closed')
  })
})

describe('one connection for many visits', () => {
  it('a visit that is not read stalls only itself', async () => {
    const fars: net.Socket[] = []
    await start({
      onVisit: async () => {
        const [near, far] = await socketPair()
        fars.push(near)
        return toSocket(far)
      },
    })
    const { client } = await dial()
    const open = async (): Promise<{ mine: net.Socket; far: net.Socket }> => {
      const channel = await client.openVisit(Buffer.from('x'))
      const [mine, inner] = await socketPair()
      void channel.pump(inner)
      return { mine, far: fars.at(-1)! }
    }
    const stalled = await open()
    const busy = await open()
    stalled.mine.pause()
    let written = 0
    const fill = (): void => {
      while (stalled.far.write(Buffer.alloc(64 * 1024)) && written < 64 * 1024 * 1024) written += 64 * 1024
    }
    stalled.far.on('drain', fill)
    fill()
    busy.far.pipe(busy.far)
    const down = readAll(busy.mine)
    busy.mine.end(Buffer.alloc(8 * 1024 * 1024, 7))
    expect((await down).length).toBe(8 * 1024 * 1024)
    expect(stalled.far.writableLength).toBeGreaterThan(0)
  })

  it('a visit that always has more to send leaves room for the others', () => {
    const sent = new Map<number, number>()
    let room = 0
    const transport = {
      ended: false,
      get hasRoom() {
        return room > 0
      },
      send: () => {},
      sendData: (channel: number, data: Buffer) => {
        room -= data.length
        sent.set(channel, (sent.get(channel) ?? 0) + data.length)
      },
    }
    const channels = new Channels(transport as unknown as Transport, {} as SshConnectionHandlers)
    for (const id of [0, 1, 2]) {
      void channels.open('x').then((channel) => {
        const fill = (): void => void channel.send(Buffer.alloc(1024 * 1024))
        channel.attach({ onData: () => {}, onEof: () => {}, onClosed: () => {}, onRoom: fill })
        fill()
      })
      channels.onMessage(91, message(91, id, id, 0xff_ff_ff_ff, 32 * 1024))
    }
    return Promise.resolve().then(() => {
      for (let turn = 0; turn < 30; turn++) {
        room = 256 * 1024
        channels.onRoom()
      }
      expect([...sent.values()]).toEqual(Array.from({ length: 3 }, () => 10 * 256 * 1024))
    })
  })
})
