// What plain ssh2 gets wrong and this server does not: the same probe against both. The floods, which take memory, are in
// limits-memory; the peer behind a network that swallows everything is in blackhole.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'

import ssh2 from 'ssh2'
import { beforeAll, describe, expect, test } from 'vitest'

import { message, WireReader } from '../../packages/shared/src/ssh-wire.ts'
import { sendRaw, tap } from '../../packages/slave/test/ssh2/fixture.ts'
import {
  atEnd,
  connectClient,
  eventually,
  makeDropbearKey,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  run,
  startCluster,
  type Key,
  type Slave,
  type Started,
} from '../kit/index.ts'
import { startPlainSsh2 } from '../kit/plain-ssh2.ts'

interface Server {
  host: string
  port: number
  process: Started
}

let ours: Slave
let plain: Server
let key: Key
let dropbearKey: Key

beforeAll(async () => {
  const folder = makeFolder()
  const hook = join(folder, 'hook.mjs')
  writeFileSync(
    hook,
    'export const validate_device = (_key, { username }) => ({ client_key: username, cacheSeconds: 0 })\n',
  )
  const cluster = await startCluster({ hook, slaveFlags: ['--login-grace-time', '1s', '--penalty', '0'] })
  ours = cluster.slaves[0]!
  plain = await startPlainSsh2()
  key = await makeKey(folder)
  dropbearKey = await makeDropbearKey(folder)
})

const socketOf = (client: ssh2.Client) => (client as unknown as { _sock: Socket })._sock

async function reach({ host, port }: Server, hello: string): Promise<Socket> {
  const socket = connect(port, host)
  socket.on('error', () => {}).resume()
  atEnd(() => socket.destroy())
  await once(socket, 'connect')
  socket.write(hello)
  return socket
}

/** Keys are in use, nobody is logged in. */
async function shake({ host, port }: Server, onPayload: (payload: Buffer) => void): Promise<ssh2.Client> {
  const client = new ssh2.Client()
  atEnd(() => client.destroy())
  client.on('error', () => {})
  client.on('handshake', () =>
    tap(client, (payload) => {
      onPayload(Buffer.from(payload))
      // The answers to a login are the test's, and no reason for the client to give up.
      return payload[0]! >= 50
    }),
  )
  const shaken = once(client, 'handshake')
  client.connect({ host, port, username: 'prober', authHandler: () => {} })
  await shaken
  return client
}

/** Up to the answer to this login request; its type, and what followed it. */
async function answerTo(server: Server, ...fields: Parameters<typeof message>): Promise<Buffer> {
  const seen: Buffer[] = []
  const client = await shake(server, (payload) => void seen.push(payload))
  // ssh2's client has asked for the service itself.
  sendRaw(client, message(...fields))
  return eventually(
    () => seen.find(([type]) => type === 51 || type === 52 || type === 60 || type === 1) ?? false,
  )
}

describe('before the login', () => {
  test('who only says hello is cut in time (plain ssh2 fails this)', async () => {
    const [there, here] = [await reach(plain, 'SSH-2.0-x\r\n'), await reach(ours, 'SSH-2.0-x\r\n')]
    const began = performance.now()
    await eventually(() => here.closed)
    const took = performance.now() - began
    await eventually(() => performance.now() - began > 2 * took)
    expect(there.closed || !there.writable).toBe(false)
  })

  test('who tries keys for ever is cut (plain ssh2 fails this)', async () => {
    const tries = async (server: Server): Promise<number> => {
      let failures = 0
      const client = await shake(server, ([type]) => {
        if (type === 51) failures++
      })
      const socket = socketOf(client)
      for (let n = 1; n <= 30 && !socket.destroyed && socket.readable; n++) {
        sendRaw(client, message(50, 'prober', 'ssh-connection', 'none'))
        await eventually(() => failures >= n || socket.destroyed || !socket.readable)
      }
      client.destroy()
      return failures
    }
    expect(await tries(ours)).toBeLessThan(10)
    expect(await tries(plain)).toBe(30)
  })

  test('no compression is offered (plain ssh2 fails this)', async () => {
    const compressions = async (server: Server): Promise<string[]> => {
      const socket = await reach(server, 'SSH-2.0-x\r\n')
      let data = Buffer.alloc(0)
      socket.on('data', (chunk: Buffer) => (data = Buffer.concat([data, chunk])))
      const start = () => data.indexOf('\r\n') + 2
      await eventually(
        () =>
          start() > 1 && data.length > start() + 4 && data.length >= start() + 4 + data.readUInt32BE(start()),
      )
      const fields = new WireReader(data, start() + 5 + 17)
      return Array.from({ length: 8 }, () => fields.nameList())
        .slice(6)
        .flat()
    }
    expect(await compressions(ours)).toEqual(['none', 'none'])
    expect(await compressions(plain)).toContain('zlib')
  })

  test('the signature algorithms are told with every comma (plain ssh2 fails this)', async () => {
    const told = async (server: Server): Promise<string> => {
      let text = ''
      await shake(server, (payload) => {
        if (payload[0] === 7) text = payload.toString('latin1')
      })
      await eventually(() => text !== '')
      return text
    }
    expect(await told(ours)).toMatch(/ecdsa-sha2-nistp521,/)
    expect(await told(plain)).toContain('ecdsa-sha2-nistp521rsa-sha2-512')
  })

  test('a rsa key is acknowledged under the name it was offered with (plain ssh2 fails this)', async () => {
    const rsa = await makeKey(makeFolder(), 'rsa')
    const wire = Buffer.from(rsa.wire, 'base64')
    const name = async (server: Server): Promise<string> => {
      const answer = await answerTo(
        server,
        50,
        'prober',
        'ssh-connection',
        'publickey',
        false,
        'rsa-sha2-512',
        wire,
      )
      expect(answer[0]).toBe(60)
      return new WireReader(answer, 1).text()
    }
    expect(await name(ours)).toBe('rsa-sha2-512')
    expect(await name(plain)).toBe('ssh-rsa')
  })

  test('a signature that is none lets nobody in (plain ssh2 fails this)', async () => {
    const wire = Buffer.from(key.wire, 'base64')
    const forged = Buffer.concat([
      message(0, 'ssh-ed25519').subarray(1),
      message(0, Buffer.alloc(64)).subarray(1),
    ])
    const log = async (server: Server) =>
      (
        await answerTo(server, 50, 'prober', 'ssh-connection', 'publickey', true, 'ssh-ed25519', wire, forged)
      )[0]
    expect(await log(ours)).toBe(51)
    expect(await log(plain)).toBe(52)
  })

  test('dropbear, whose first packet is a guess, gets in, whichever method stands first (plain ssh2 fails this)', async () => {
    const guessed = await startPlainSsh2({ server: { algorithms: { kex: ['curve25519-sha256'] } } })
    const open = (slave: Server) =>
      openDevice({ slave, key: dropbearKey, client: 'dropbear', username: 'guesser' })
    const [here, there] = [open(ours), open(guessed)]
    await here.port()
    // It waits for the answer to what was thrown away.
    await eventually(() => here.exit !== undefined || /Allocated/.test(here.output))
    const began = performance.now()
    await eventually(() => performance.now() - began > 2_000)
    expect(there.output).not.toMatch(/Allocated/)
    // The control of the control: the same server takes OpenSSH.
    await openDevice({ slave: guessed, key }).port()
  })
})

/** Sends back what it got when it got all of it. */
async function startLateEcho(): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Buffer[] = []
    socket.on('error', () => {}).on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('end', () => socket.end(Buffer.concat(chunks)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  atEnd(() => server.close())
  return (server.address() as AddressInfo).port
}

describe('a connection', () => {
  test.each(['openssh', 'dropbear'] as const)(
    'of %s brings 1 MiB back whole after the half-close of a visitor (plain ssh2 fails this)',
    async (client) => {
      const echo = await startLateEcho()
      const sent = Buffer.alloc(1_048_581, 'half-close ')
      const received = async (slave: Server): Promise<number> => {
        const device = openDevice({
          slave,
          key: client === 'openssh' ? key : dropbearKey,
          client,
          username: `halver-${client}`,
          forwards: [`0:127.0.0.1:${echo}`],
        })
        const visit = await openVisit({ host: '127.0.0.1', port: await device.port() })
        visit.send(sent)
        visit.halfClose()
        await eventually(() => visit.ended || visit.closed, { within: 20_000 })
        await device.stop()
        return visit.received.equals(sent) ? sent.length : visit.received.length
      }
      expect(await received(ours)).toBe(sent.length)
      expect(await received(plain)).toBeLessThan(sent.length)
    },
  )

  test('may cancel a forward without asking for a reply (plain ssh2 fails this)', async () => {
    const cancel = async (slave: Server) => {
      const control = join(makeFolder(), 'control')
      const device = openDevice({ slave, key, username: 'canceller', options: ['-M', '-S', control] })
      await device.port()
      await run('ssh', ['-S', control, '-O', 'cancel', '-R', '0:localhost:22', 'device@127.0.0.1'])
      return device
    }
    const there = await cancel(plain)
    await there.exited
    await plain.process.waitForOutput(/error: accept is not a function/)
    const here = await cancel(ours)
    // It holds no forward now, and is still there to open another.
    await ours.process.logged('tunnel down', ({ device }) => device === 'canceller')
    expect(here.exit).toBeUndefined()
  })

  test('that failed may still be visited', async () => {
    const client = await connectClient({ slave: ours, key, username: 'broken' })
    const port = await new Promise<number>((resolve) => {
      client.forwardIn('localhost', 0, (_error, given) => resolve(given))
    })
    // It does not read that it is hung up on.
    const socket = socketOf(client)
    socket.pause()
    socket.write(Buffer.alloc(64, 255))
    await openVisit({ host: '127.0.0.1', port }).catch(() => {})
    await openDevice({ slave: ours, key, username: 'next' }).port()
    expect(ours.process.exit).toBeUndefined()
  })

  test('that breaks the protocol ends alone (plain ssh2 ends where nobody listens for it)', async () => {
    const victim = await startPlainSsh2({ deaf: true })
    const malformed = 'SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff'
    await reach(victim, malformed)
    await victim.process.exited
    expect(victim.process.output).toMatch(/Bad packet length|Unhandled 'error'/)
    const socket = await reach(ours, malformed)
    await eventually(() => socket.closed)
    expect(ours.process.exit).toBeUndefined()
  })
})
