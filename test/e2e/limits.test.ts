// The limits of a slave against strangers and against devices that take too much, each with its flag and its metric.

import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'

import ssh2 from 'ssh2'
import { beforeAll, describe, expect, test } from 'vitest'

import { kexDhInit, kexGroup18Init, kexInit } from '../../packages/slave/test/ssh2/fixture.ts'
import {
  atEnd,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  run,
  startCluster,
  startEcho,
  type Cluster,
  type Events,
  type Key,
  type Slave,
} from '../kit/index.ts'

// The user name is the device; only one key is known, so that any other is an unknown one.
const hookFor = (known: Key): string => `export async function validate_device(publicKey, { username }) {
  if (username === 'outage') throw new Error('the database is away')
  return publicKey === '${known.wire}' ? { client_key: username } : undefined
}
`

let cluster: Cluster
let strict: Slave
let usual: Slave
let harsh: Slave
let events: Events
let known: Key
let unknown: Key

beforeAll(async () => {
  const folder = makeFolder()
  known = await makeKey(folder)
  unknown = await makeKey(folder)
  const hook = join(folder, 'hook.mjs')
  writeFileSync(hook, hookFor(known))
  const flags = [
    '--login-grace-time=1s --idle-grace-time=1s --max-auth-tries=2 --max-forwards=2 --max-visits=2 --max-source-startups=5 --max-startups=8 --penalty=0',
    '',
    '--penalty=5s --penalty-threshold=10s --penalty-max=1m --penalty-exempt=127.9.0.0/16',
  ]
  cluster = await startCluster({
    slaves: 3,
    hook,
    masterFlags: ['--cache-ttl', '0'],
    forwardPorts: 600,
    slaveFlags: (n) => (flags[n] ?? '').split(' ').filter((flag) => flag !== ''),
  })
  ;[strict, usual, harsh] = cluster.slaves as [Slave, Slave, Slave]
  events = await cluster.events()
})

/** The value of a metric of a slave; 0 while it has none. */
async function metric(slave: Slave, name: string): Promise<number> {
  const page = await (await fetch(`${slave.statusUrl}/metrics`)).text()
  const line = page.split('\n').find((text) => text.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1) ?? 0)
}

async function rises(slave: Slave, name: string, act: () => Promise<unknown>): Promise<void> {
  const before = await metric(slave, name)
  await act()
  await eventually(async () => expect(await metric(slave, name)).toBeGreaterThan(before))
}

/** Connects from an address of 127.0.0.0/8 and says hello, if it is to. */
async function reach(slave: Slave, localAddress: string, hello = ''): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: slave.port, localAddress })
  socket.on('error', () => {}).resume()
  atEnd(() => socket.destroy())
  await once(socket, 'connect')
  if (hello !== '') socket.write(hello)
  return socket
}

/** Logs in within the process; resolves with how long it took, ms. */
async function logIn(
  slave: Slave,
  username: string,
  localAddress: string,
  key = known,
): Promise<{ client: ssh2.Client; ms: number }> {
  const client = new ssh2.Client()
  atEnd(() => client.destroy())
  const began = performance.now()
  await new Promise<void>((resolve, reject) => {
    client.on('ready', () => resolve()).on('error', reject)
    client.on('close', () => reject(new Error('closed before it was ready')))
    const privateKey = readFileSync(key.path)
    client.connect({ host: '127.0.0.1', port: slave.port, username, localAddress, privateKey })
  })
  return { client, ms: performance.now() - began }
}

async function closes(socket: Socket, within = 5_000): Promise<void> {
  await eventually(() => socket.closed, { within, message: 'the slave closes the connection' })
}

describe('a stranger', () => {
  test('who does not log in is cut after --login-grace-time', async () => {
    await rises(strict, 'sshoal_refusals_total{code="LOGIN_TIMEOUT"}', async () => {
      const silent = await reach(strict, '127.0.0.2')
      const greeting = await reach(strict, '127.0.0.2', 'SSH-2.0-stranger\r\n')
      // One byte now and then is no progress.
      const slow = await reach(strict, '127.0.0.2')
      const drip = setInterval(() => slow.write('S'), 100)
      await Promise.all([closes(silent), closes(greeting), closes(slow)])
      clearInterval(drip)
    })
    await events.next('device.refused', { code: 'LOGIN_TIMEOUT' })
  })

  test('who tries more than --max-auth-tries keys is cut', async () => {
    await rises(strict, 'sshoal_connection_errors_total{code="TOO_MANY_AUTH_TRIES"}', async () => {
      const more = await makeKey(makeFolder())
      const device = openDevice({ slave: strict, key: unknown, options: ['-i', more.path] })
      await device.exited
      expect(device.output).toContain('Too many authentication failures')
    })
  })

  test('opens at most --max-source-startups connections at once, and others are still let in', async () => {
    const name = 'sshoal_connections_dropped_total{reason="source-startups"}'
    await rises(strict, name, async () => {
      const sockets = await Promise.all(Array.from({ length: 9 }, () => reach(strict, '127.0.0.3')))
      await eventually(() => sockets.filter(({ closed }) => closed).length === 4)
      const { client } = await logIn(strict, 'elsewhere', '127.0.0.4')
      client.end()
      for (const socket of sockets) socket.destroy()
    })
  })

  test('and all others together open at most --max-startups', async () => {
    await rises(strict, 'sshoal_connections_dropped_total{reason="startups"}', async () => {
      const sockets = await Promise.all(
        Array.from({ length: 12 }, (_, n) => reach(strict, `127.0.0.${50 + n}`)),
      )
      await eventually(() => sockets.filter(({ closed }) => closed).length >= 4)
      for (const socket of sockets) socket.destroy()
    })
  })

  test('with 1,000 connections from one source does not keep a device elsewhere from its login', async () => {
    const crowd = await Promise.all(
      Array.from({ length: 1_000 }, (_, n) =>
        reach(usual, '127.0.0.5', n % 2 === 0 ? 'SSH-2.0-stranger\r\n' : ''),
      ),
    )
    const { client, ms } = await logIn(usual, 'elsewhere', '127.0.0.6')
    expect(ms).toBeLessThan(1_000)
    client.end()
    for (const socket of crowd) socket.destroy()
  })

  /** 1,000 connections that make the slave compute; it costs this machine nothing else, all is ready beforehand. */
  async function exchangeKeys(method: string, half: Buffer) {
    const sockets = await Promise.all(Array.from({ length: 1_000 }, () => reach(usual, '127.0.0.5')))
    const exchange = Buffer.concat([Buffer.from('SSH-2.0-stranger\r\n'), kexInit([method]), half])
    let answers = 0
    for (const socket of sockets) {
      let bytes = 0
      socket.on('data', (data: Buffer) => {
        // More than the identification and the KEXINIT: the slave's half with its signature.
        if (bytes < 1_200 && (bytes += data.length) >= 1_200) answers++
      })
      socket.write(exchange)
    }
    return { answers: () => answers, end: () => sockets.forEach((socket) => socket.destroy()) }
  }

  test('nor do 1,000 whole key exchanges at once', async () => {
    const crowd = await exchangeKeys('curve25519-sha256', kexDhInit())
    const { client, ms } = await logIn(usual, 'elsewhere', '127.0.0.6')
    expect(ms).toBeLessThan(1_000)
    client.end()
    crowd.end()
  })

  test('nor 1,000 of the dearest there are, which take a processor for half a minute', async () => {
    const crowd = await exchangeKeys('diffie-hellman-group18-sha512', kexGroup18Init())
    const { client } = await logIn(usual, 'elsewhere', '127.0.0.6')
    // Two for each of the device's steps, not the hundreds that came before it.
    expect(crowd.answers()).toBeLessThan(60)
    client.end()
    crowd.end()
  })
})

describe('a device', () => {
  test('that asks for nothing after its login is sent away after --idle-grace-time and told why', async () => {
    await rises(strict, 'sshoal_refusals_total{code="IDLE_TIMEOUT"}', async () => {
      const device = openDevice({ slave: strict, key: known, username: 'idle', forwards: [] })
      await device.exited
      expect(device.output).toContain('no forward and no session for 1 s; ask for one with ssh -R')
    })
    const device = openDevice({ slave: strict, key: known, username: 'idle' })
    await device.port()
    const shell = openDevice({ slave: strict, key: known, username: 'idle', forwards: [], command: [] })
    await shell.waitForOutput(/You are device idle/)
    await strict.process.logged('tunnel up')
    expect(device.exit).toBeUndefined()
    await device.stop()
  })

  test('that cancels its last forward has --idle-grace-time again, once its visits are over', async () => {
    const control = join(makeFolder(), 'control')
    const echo = await startEcho()
    const forwards = [`0:127.0.0.1:${echo.port}`]
    const options = ['-M', '-S', control]
    const device = openDevice({ slave: strict, key: known, username: 'leaver', forwards, options })
    const visit = await openVisit({ host: '127.0.0.1', port: await device.port() })
    const echoes = async (text: string) => {
      const before = visit.received.length
      visit.send(text)
      await visit.receive(before + text.length)
    }
    await echoes('hello')
    const cancel = ['-S', control, '-O', 'cancel', '-R', forwards[0]!, 'device@127.0.0.1']
    expect((await run('ssh', cancel)).status).toBe(0)
    await strict.process.logged('tunnel down', ({ device: id }) => id === 'leaver')
    const cancelledAt = performance.now()
    while (performance.now() - cancelledAt < 1_500) await echoes('still here')
    expect(device.exit).toBeUndefined()
    visit.close()
    await device.exited
    expect(device.output).toContain('no forward and no session for 1 s')
  })

  test('has at most --max-forwards forwards', async () => {
    await rises(strict, 'sshoal_refusals_total{code="TOO_MANY_FORWARDS"}', async () => {
      const forwards = ['0:localhost:1', '0:localhost:2', '0:localhost:3']
      const device = openDevice({ slave: strict, key: known, username: 'many', forwards })
      await device.exited
      expect(device.output).toMatch(/remote port forwarding failed/)
    })
    await events.next('device.refused', { device: 'many', code: 'TOO_MANY_FORWARDS' })
  })

  test('has at most --max-visits open visits; the next is closed, and one that ends makes room', async () => {
    const echo = await startEcho()
    const forwards = [`0:127.0.0.1:${echo.port}`]
    const device = openDevice({ slave: strict, key: known, username: 'busy', forwards })
    const to = { host: '127.0.0.1', port: await device.port() }
    const visits = [await openVisit(to), await openVisit(to)]
    for (const visit of visits) visit.send('x')
    await Promise.all(visits.map((visit) => visit.receive(1)))
    await rises(strict, 'sshoal_visits_refused_total{reason="limit"}', async () => {
      const third = await openVisit(to)
      await eventually(() => third.closed || third.ended)
    })
    visits[0]!.close()
    await eventually(async () => expect(await metric(strict, 'sshoal_visits')).toBe(1))
    const fourth = await openVisit(to)
    fourth.send('y')
    await fourth.receive(1)
    await device.stop()
  })
})

describe('a penalty', () => {
  const name = 'sshoal_connections_dropped_total{reason="penalty"}'

  /** An unknown key once more; false: it was not even let in. */
  const offend = (from: string, username = 'x', key = unknown): Promise<boolean> =>
    logIn(harsh, username, from, key).then(
      () => true,
      (error: Error) => error.message.includes('authentication'),
    )

  test('comes with unknown keys, for that source alone', async () => {
    await rises(harsh, name, async () => {
      await eventually(async () => !(await offend('127.0.0.7')))
      expect(await offend('127.0.0.8')).toBe(true)
    })
    await expect(logIn(harsh, 'good', '127.0.0.7')).rejects.toThrow()
  })

  test('never comes with an outage of the hook, with dropped sockets, or for an exempt source', async () => {
    for (let n = 0; n < 6; n++) {
      await offend('127.0.0.9', 'outage', known)
      const socket = await reach(harsh, '127.0.0.9', 'SSH-2.0-x\r\n')
      socket.destroy()
      await offend('127.9.0.1')
    }
    const before = await metric(harsh, name)
    await logIn(harsh, 'good', '127.0.0.9')
    await logIn(harsh, 'good', '127.9.0.1')
    expect(await metric(harsh, name)).toBe(before)
  })

  test('a site of 500 devices behind one address keeps working with one bad key among them', async () => {
    const site = '127.0.0.10'
    await logIn(harsh, 'device-0', site)
    const stop = new AbortController()
    let bad = 0
    const nuisance = (async () => {
      while (!stop.signal.aborted) if (await offend(site)) bad++
    })()
    const privateKey = readFileSync(known.path)
    let next = 1
    const failures: string[] = []
    const worker = async (): Promise<void> => {
      while (next < 500) {
        const client = new ssh2.Client()
        atEnd(() => client.destroy())
        const username = `device-${next++}`
        await new Promise<void>((resolve) => {
          client.on('error', (error) => resolve(void failures.push(`${username}: ${error.message}`)))
          client.on('ready', () =>
            client.forwardIn('', 0, (error) => resolve(error && void failures.push(`${username}: ${error}`))),
          )
          const at = { host: '127.0.0.1', port: harsh.port, localAddress: site }
          client.connect({ ...at, username, privateKey, readyTimeout: 30_000 })
        })
      }
    }
    await Promise.all(Array.from({ length: 16 }, worker))
    stop.abort()
    await nuisance
    expect(failures).toEqual([])
    expect(bad).toBeGreaterThan(5)
    expect(await metric(harsh, 'sshoal_tunnels')).toBe(499)
  })
})
