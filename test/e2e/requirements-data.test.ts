// Forwards and the data that travels through them, against a slave of its own.

import { readFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'

import type { TcpConnectionDetails } from 'ssh2'
import { beforeAll, describe, expect, test } from 'vitest'

import {
  atEnd,
  callApi,
  connectClient,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  startCluster,
  startEcho,
  visit,
  type Address,
  type Cluster,
  type Device,
  type Key,
  type Slave,
} from '../kit/index.ts'

let cluster: Cluster
let slave: Slave
let folder: string

beforeAll(async () => {
  folder = makeFolder()
  cluster = await startCluster({ slaveFlags: ['--penalty', '0'] })
  const [only] = cluster.slaves
  if (only === undefined) throw new Error('no slave')
  slave = only
})

let devices = 0
async function newKey(): Promise<{ id: string; key: Key }> {
  const [id, key] = [`device-${++devices}`, await makeKey(folder)]
  await cluster.addDevice(id, key)
  return { id, key }
}

const here = (port: number): Address => ({ host: '127.0.0.1', port })

async function up(service: number): Promise<{ id: string; device: Device; to: Address; key: Key }> {
  const { id, key } = await newKey()
  const device = openDevice({ slave, key, forwards: [`0:127.0.0.1:${service}`] })
  return { id, key, device, to: here(await device.port()) }
}

async function serve(onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    onSocket(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  atEnd(() => server.close())
  return (server.address() as AddressInfo).port
}

const tunnel = async (id: string) => {
  const found = (await cluster.tunnels()).find(({ device }) => device === id)
  if (found === undefined) throw new Error(`${id} has no tunnel`)
  return found
}

/** A number of the slave's own. */
async function metric(name: string): Promise<number> {
  const { body } = await callApi<string>({ url: slave.statusUrl }, 'GET', '/metrics')
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(body)?.[1])
}

const descriptors = (): Promise<number> => metric('process_open_fds')

describe('a forward', () => {
  test('echoes the asked address and port to the device, verbatim, and the address of its visitor (T078, T080)', async () => {
    const { id, key } = await newKey()
    const client = await connectClient({ slave, key })
    const came: TcpConnectionDetails[] = []
    client.on('tcp connection', (details, accept) => {
      came.push(details)
      const channel = accept()
      channel.pipe(channel)
    })
    const asked = ['', '*', 'localhost', '127.0.0.1', '0.0.0.0', '::', '192.0.2.7']
    for (const address of asked) {
      const port = await new Promise<number>((resolve, reject) => {
        client.forwardIn(address, 0, (error, given) => (error ? reject(error) : resolve(given)))
      })
      const open = await openVisit(here(port))
      open.send(address)
      await eventually(() => came.length > 0)
      // A client that asked for 0 looks for the port that it was told.
      expect(came.pop()).toMatchObject({
        destIP: address,
        destPort: port,
        srcIP: '127.0.0.1',
        srcPort: open.socket.localPort,
      })
      open.close()
    }
    const { forwards, remoteAddress } = await tunnel(id)
    expect(remoteAddress).toBe('127.0.0.1')
    expect(forwards.map(({ bindAddress, bindPort }) => [bindAddress, bindPort])).toEqual(
      asked.map((address) => [address, 0]),
    )
  })

  test('listens on the forward address alone, whatever address the device asked for (T079)', async () => {
    const { key } = await newKey()
    const device = openDevice({ slave, key, forwards: ['*:0:localhost:1', '0.0.0.0:0:localhost:1'] })
    for (const port of [await device.port(), await device.port(1)]) {
      const hex = port.toString(16).toUpperCase().padStart(4, '0')
      const listening = ['tcp', 'tcp6'].flatMap((table) =>
        readFileSync(`/proc/net/${table}`, 'utf8')
          .split('\n')
          .map((line) => line.trim().split(/\s+/))
          .filter(([, local = '', , state]) => local.endsWith(`:${hex}`) && state === '0A')
          .map(([, local]) => local),
      )
      expect(listening).toEqual([`0100007F:${hex}`])
    }
  })

  test('of a tunnel may be one of many, with a fixed port in the range or without; the same port twice is refused (T064)', async () => {
    const { id, key } = await newKey()
    const fixed = slave.forwardPorts.last - 3
    const forwards = ['0:localhost:1', `${fixed}:localhost:2`, '0:localhost:3']
    const device = openDevice({ slave, key, forwards })
    await Promise.all([device.port(), device.port(1)])
    await eventually(async () => expect((await tunnel(id)).forwards).toHaveLength(3))
    expect((await tunnel(id)).forwards.map(({ port }) => port)).toContain(fixed)
    const other = await newKey()
    const rival = openDevice({ slave, key: other.key, forwards: [`${fixed}:localhost:1`] })
    expect((await rival.exited).status).toBe(255)
    expect(rival.output).toContain(`sshoal: port ${fixed}`)
  })

  test('with a name, or a port outside the range, is accepted, listed and listens nowhere; `name:0` is numbered', async () => {
    const { id, key } = await newKey()
    const before = await descriptors()
    const forwards = ['web:80:localhost:80', 'web:0:localhost:1', 'web:0:localhost:2', '443:localhost:3']
    const device = openDevice({ slave, key, forwards })
    expect([await device.port(), await device.port(1)]).toEqual([1, 2])
    await eventually(async () => expect((await tunnel(id)).forwards).toHaveLength(4))
    const shown = (await tunnel(id)).forwards
    expect(shown.map(({ address }) => address)).toEqual([null, null, null, null])
    expect(shown.map(({ bindAddress, port }) => [bindAddress, port])).toEqual(
      expect.arrayContaining([
        ['web', 80],
        ['web', 1],
        ['web', 2],
      ]),
    )
    // One descriptor: its connection, and none for its forwards (T145).
    expect((await descriptors()) - before).toBeLessThanOrEqual(1)
    const again = openDevice({
      slave,
      key: (await newKey()).key,
      forwards: ['a:80:localhost:80', 'b:80:localhost:80', 'a:80:localhost:81'],
    })
    expect((await again.exited).status).toBe(255)
    const bad = openDevice({ slave, key: (await newKey()).key, forwards: ['no_name:80:localhost:80'] })
    expect((await bad.exited).status).toBe(255)
    expect(bad.output).toContain('1 to 63 of the characters a-z, 0-9 and -')
  })

  test('can be cancelled; with the last one its tunnel is gone and its port free', async () => {
    const { id, key } = await newKey()
    const client = await connectClient({ slave, key })
    const open = () =>
      new Promise<number>((resolve, reject) => {
        client.forwardIn('localhost', 0, (error, given) => (error ? reject(error) : resolve(given)))
      })
    const cancel = (port: number) =>
      new Promise<void>((resolve, reject) => {
        client.unforwardIn('localhost', port, (error) => (error ? reject(error) : resolve()))
      })
    const [first, second] = [await open(), await open()]
    await cancel(first)
    await expect(openVisit(here(first))).rejects.toThrow(/ECONNREFUSED/)
    await eventually(async () =>
      expect((await tunnel(id)).forwards.map(({ port }) => port)).toEqual([second]),
    )
    await cancel(second)
    await expect(openVisit(here(second))).rejects.toThrow(/ECONNREFUSED/)
    await eventually(async () => (await cluster.tunnels()).every(({ device }) => device !== id))
    await expect(cancel(second)).rejects.toThrow()
    // It may begin anew on the same connection.
    expect(await open()).toBe(first)
  })
})

describe('a visit', () => {
  test('whose channel the device refuses is closed at once (T081)', async () => {
    // Nothing listens on port 1 of the device's machine.
    const { to, device } = await up(1)
    const from = performance.now()
    const open = await openVisit(to)
    await eventually(() => open.closed || open.ended)
    expect(performance.now() - from).toBeLessThan(2_000)
    expect(open.received.length).toBe(0)
    expect(device.exit).toBeUndefined()
  })

  test('of a device that is gone is closed, and so is the port (T082, T084)', async () => {
    const echo = await startEcho()
    const { id, device, to } = await up(echo.port)
    const open = [await openVisit(to), await openVisit(to), await openVisit(to)]
    for (const one of open) {
      one.send('here')
      await one.receive(4)
    }
    device.signal('SIGKILL')
    // Visitors who come in this very moment are closed too, or find the port closed.
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const late = await openVisit(to).catch(() => undefined)
        if (late) await eventually(() => late.closed || late.ended)
      }),
    )
    for (const one of open) await eventually(() => one.closed || one.ended)
    await expect(openVisit(to)).rejects.toThrow(/ECONNREFUSED/)
    await eventually(async () => (await cluster.tunnels()).every(({ device }) => device !== id))
    expect(slave.process.exit).toBeUndefined()
  })

  test('that ends in an error on either side ends alone (T066, T083)', async () => {
    const resetting = await serve((socket) => socket.once('data', () => socket.resetAndDestroy()))
    const { device, to } = await up(resetting)
    const steady = await openVisit(to)
    for (let round = 0; round < 10; round++) {
      const open = await openVisit(to)
      if (round % 2 === 0) open.send('reset me')
      else open.socket.resetAndDestroy()
      await eventually(() => open.closed || open.ended)
      open.close()
    }
    expect(steady.closed).toBe(false)
    expect(device.exit).toBeUndefined()
    await eventually(async () => expect(await metric('sshoal_visits')).toBe(1))
  })

  test('passes a half-close on after the data, in both directions', async () => {
    const answer = Buffer.alloc(3 << 20, 'answer')
    const seen: number[] = []
    const service = await serve((socket) => {
      let bytes = 0
      socket.on('data', (chunk) => (bytes += chunk.length))
      socket.on('end', () => {
        seen.push(bytes)
        socket.end(answer)
      })
    })
    const { to } = await up(service)
    const sent = Buffer.alloc(2 << 20, 'question')
    const got = await visit(to, sent)
    expect(seen).toEqual([sent.length])
    expect(got.equals(answer)).toBe(true)
  })

  test('that is stalled stalls no other, and holds little in memory (T087)', async () => {
    const flood = await serve((socket) => {
      const block = Buffer.alloc(1 << 16, 'flood')
      const more = (): void => {
        while (socket.write(block));
      }
      socket.on('drain', more)
      more()
    })
    const echo = await startEcho({ whole: true })
    const { key } = await newKey()
    const device = openDevice({
      slave,
      key,
      forwards: [`0:127.0.0.1:${flood}`, `0:127.0.0.1:${echo.port}`],
    })
    const [stalled, lively] = [here(await device.port()), here(await device.port(1))]
    const before = await metric('process_resident_memory_bytes')
    const visits = [await openVisit(stalled), await openVisit(stalled)]
    for (const one of visits) one.socket.pause()
    const much = Buffer.alloc(8 << 20, 'sshoal')
    for (let round = 0; round < 3; round++) expect((await visit(lively, much)).equals(much)).toBe(true)
    // The stalled ones hold a channel window each, and that is far below what was offered.
    expect((await metric('process_resident_memory_bytes')) - before).toBeLessThan(150 << 20)
    for (const one of visits) {
      one.socket.resume()
      await one.receive(4 << 20, 20_000)
      one.close()
    }
  })

  test('leaves nothing behind: a thousand of them later the slave has as many descriptors as before (T086, T145)', async () => {
    const echo = await startEcho({ whole: true })
    const before = await descriptors()
    const { device, to } = await up(echo.port)
    const withTunnel = await descriptors()
    // Its connection and its port.
    expect(withTunnel - before).toBe(2)
    for (let round = 0; round < 20; round++)
      await Promise.all(Array.from({ length: 50 }, () => visit(to, 'hello')))
    await eventually(async () => expect(await descriptors()).toBe(withTunnel))
    await device.stop()
    await eventually(async () => expect(await descriptors()).toBe(before))
    expect(slave.process.output).not.toMatch(/MaxListenersExceededWarning|unhandled/i)
  })
})
