// What a peer that floods costs the slave's process in memory, before its login and with a login of its own. Plain ssh2
// as the control: it grows by hundreds of megabytes at the same treatment.

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'

import ssh2 from 'ssh2'
import { beforeAll, describe, expect, test } from 'vitest'

import { message } from '../../packages/shared/src/ssh-wire.ts'
import { sendRaw, tap } from '../../packages/slave/test/ssh2/fixture.ts'
import {
  atEnd,
  eventually,
  makeFolder,
  makeKey,
  openVisit,
  start,
  startCluster,
  type Cluster,
  type Key,
  type Slave,
  type Started,
} from '../kit/index.ts'

const LIMIT_MB = 32
/** Plain ssh2 grows by 35 MB where it takes more than its window. */
const WINDOW_LIMIT_MB = 16
/** How much is thrown at each in large messages, and in small ones, which cost their receiver more than their size. */
const LARGE_BYTES = 96 * 1_048_576
const SMALL_BYTES = 32 * 1_048_576
const KEEPALIVE = message(80, 'keepalive@openssh.com', true)

let cluster: Cluster
let slave: Slave
let key: Key

beforeAll(async () => {
  cluster = await startCluster({ slaveFlags: ['--max-source-startups', '2000'] })
  slave = cluster.slaves[0]!
  key = await makeKey(makeFolder())
  await cluster.addDevice('barn', key)
})

function residentMb(process: Started): number {
  const status = readFileSync(`/proc/${process.pid}/status`, 'latin1')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_024
}

/** How far the process grew at most while `act` was under way and just after. */
async function growth(process: Started, act: () => Promise<unknown>): Promise<number> {
  const before = residentMb(process)
  let most = before
  const look = setInterval(() => (most = Math.max(most, residentMb(process))), 20)
  await act()
  clearInterval(look)
  return Math.max(most, residentMb(process)) - before
}

/** ssh2's own server, with nothing but what its documentation shows. */
async function startPlain(): Promise<{ port: number; process: Started }> {
  const code = `const { Server, utils } = require('ssh2')
    const keys = utils.generateKeyPairSync('ed25519')
    const server = new Server({ hostKeys: [keys.private] }, (client) => {
      client.on('error', () => {}).on('authentication', (context) => context.accept())
      client.on('ready', () => client.on('session', (accept) => accept()))
    })
    server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port))`
  const process = start(globalThis.process.execPath, ['-e', code], {
    cwd: new URL('../..', import.meta.url).pathname,
  })
  const [, port] = await process.waitForOutput(/port (\d+)/)
  return { port: Number(port), process }
}

async function shake(
  port: number,
  config: ssh2.ConnectConfig,
  until: 'handshake' | 'ready',
): Promise<ssh2.Client> {
  const client = new ssh2.Client()
  atEnd(() => client.destroy())
  client.on('error', () => {})
  const arrived = once(client, until)
  client.connect({ host: '127.0.0.1', port, username: 'device', ...config })
  await arrived
  return client
}

const socketOf = (client: ssh2.Client) => (client as unknown as { _sock: Socket })._sock

/** Sends the payload again and again, as fast as the other side takes it, until so much is sent or it hangs up. */
async function flood(client: ssh2.Client, payload: Buffer, within = 20_000): Promise<void> {
  const end = performance.now() + within
  const socket = socketOf(client)
  const most = payload.length > 1_000 ? LARGE_BYTES : SMALL_BYTES
  let sent = 0
  while (sent < most && performance.now() < end && !socket.destroyed && socket.writable) {
    for (let n = 0; n < 500 && socket.writable; n++) {
      sendRaw(client, payload)
      sent += payload.length + 40
    }
    // Not taken for a second: it stopped reading us, which is a bound as well.
    let stuck = 0
    while (socket.writableLength > 1_048_576 && socket.writable && stuck++ < 100)
      await new Promise((resolve) => setTimeout(resolve, 10))
    if (stuck >= 100) break
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('before the login', () => {
  test.each([
    ['requests that want a reply which is never read', KEEPALIVE],
    ['messages to be ignored', message(2, Buffer.alloc(30_000))],
    ['logins of many kinds', message(50, 'device', 'ssh-connection', 'none')],
  ])('a flood of %s costs less than 32 MB', async (_what, payload) => {
    const grew = await growth(slave.process, async () => {
      const clients = await Promise.all(
        Array.from({ length: 2 }, () => shake(slave.port, { authHandler: () => {} }, 'handshake')),
      )
      for (const client of clients) socketOf(client).pause()
      await Promise.all(clients.map((client) => flood(client, payload, 3_000)))
      for (const client of clients) client.destroy()
    })
    expect(grew).toBeLessThan(LIMIT_MB)
  })

  test('300 connections that stop in the middle of a packet or never end their first line cost less than 32 MB', async () => {
    const grew = await growth(slave.process, async () => {
      const packet = Buffer.alloc(30_000)
      packet.writeUInt32BE(34_000)
      // Such a line kept whole would be 150 MB; the connections themselves cost 50 KB each.
      const starts = [Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), packet]), Buffer.alloc(1_000_000, 'x')]
      const sockets = await Promise.all(
        Array.from({ length: 300 }, async (_, n) => {
          const socket = connect(slave.port, '127.0.0.1')
          socket.on('error', () => {}).resume()
          atEnd(() => socket.destroy())
          await once(socket, 'connect')
          socket.write(starts[n % 2]!)
          return socket
        }),
      )
      await eventually(() => sockets.filter(({ closed }) => closed).length >= 150)
      for (const socket of sockets) socket.destroy()
    })
    expect(grew).toBeLessThan(LIMIT_MB)
  })

  test('the control: plain ssh2 answers all of it and keeps the answers', async () => {
    const plain = await startPlain()
    const grew = await growth(plain.process, async () => {
      const client = await shake(plain.port, { authHandler: () => {} }, 'handshake')
      socketOf(client).pause()
      await flood(client, KEEPALIVE)
      client.destroy()
    })
    expect(grew).toBeGreaterThan(LIMIT_MB)
  })
})

describe('a device that sends beyond the window of a visit', () => {
  const chunk = Buffer.alloc(32_000, 'w')

  test('is cut, and costs less than 16 MB', async () => {
    const client = await shake(slave.port, { privateKey: readFileSync(key.path) }, 'ready')
    let channel: number | undefined
    tap(client, (payload) => {
      if (payload[0] !== 90) return false
      // The answer is ours to give: its window is never looked at again.
      const at = 5 + payload.readUInt32BE(1)
      channel = payload.readUInt32BE(at)
      sendRaw(client, message(91, channel, 0, 2 ** 21, 32_768))
      return true
    })
    const port = await new Promise<number>((resolve, reject) => {
      client.forwardIn('', 0, (error, bound) => (error ? reject(error) : resolve(bound)))
    })
    const visit = await openVisit({ host: '127.0.0.1', port })
    visit.socket.pause()
    await eventually(() => channel !== undefined)
    const grew = await growth(slave.process, async () => {
      await flood(client, message(94, channel!, chunk))
      await eventually(() => socketOf(client).destroyed || !socketOf(client).readable)
    })
    expect(grew).toBeLessThan(WINDOW_LIMIT_MB)
    // It is counted when the slave's socket is gone, which may be later than the device's.
    await eventually(async () => {
      const page = await (await fetch(`${slave.statusUrl}/metrics`)).text()
      expect(page).toMatch(/sshoal_connection_errors_total\{code="WINDOW_ABUSE"\} [1-9]/)
    })
    visit.close()
  })

  test('the control: plain ssh2 takes it all', async () => {
    const plain = await startPlain()
    const client = await shake(plain.port, { password: 'any' }, 'ready')
    let channel: number | undefined
    tap(client, (payload) => {
      if (payload[0] !== 91) return false
      channel = payload.readUInt32BE(5)
      return true
    })
    sendRaw(client, message(90, 'session', 0, 2 ** 21, 32_768))
    await eventually(() => channel !== undefined)
    const grew = await growth(plain.process, () => flood(client, message(94, channel!, chunk)))
    expect(grew).toBeGreaterThan(WINDOW_LIMIT_MB)
  })
})
