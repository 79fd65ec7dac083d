import { once } from 'node:events'
import net from 'node:net'

import ssh2 from 'ssh2'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'

import { until } from './fixture.ts'
import { ada, echo, exchange, GateWorld, testKey, visit, type GateSlave } from './gate-fixture.ts'

let world: GateWorld
/** Where users come in, and where devices are. */
let gate: GateSlave
let holder: GateSlave
beforeEach(async () => {
  world = await GateWorld.start()
  gate = await world.slave('gate')
  holder = await world.slave('holder', { relayListen: ['127.0.0.1:0'] })
})
afterEach(() => world[Symbol.asyncDispose]())

const relayPort = (): number => holder.hello.relay?.port ?? 0

describe('a visit to a device of another slave', () => {
  test('G001, G087: goes through the relay of that slave, which asks for itself and reports it', async () => {
    await world.device(holder, 'pi')
    const { client, key } = await world.user(gate)
    expect(await exchange(await visit(client, 'pi'), 'far away')).toBe('far away')
    expect(world.asked.map(({ by, via }) => ({ by, via }))).toEqual([
      { by: 'gate', via: undefined },
      { by: 'holder', via: 'gate' },
    ])
    const [ended] = await world.ended(holder)
    expect(ended).toMatchObject({
      via: 'gate',
      login: 'ada',
      fingerprint: key.fingerprint,
      remoteAddress: '127.0.0.1',
      target: 'pi',
      ended: { bytesToTarget: 8, bytesFromTarget: 8, reason: 'finished' },
    })
    expect(world.reports(gate)).toEqual([])
  })

  test('many visits of many users share one connection between the two slaves', async () => {
    await world.device(holder, 'pi')
    const users = await Promise.all([world.user(gate), world.user(gate), world.user(gate)])
    const sizes = await Promise.all(
      users.flatMap(({ client }) =>
        [1, 2, 3].map(async (i) => {
          const text = 'x'.repeat(100_000 * i)
          return (await exchange(await visit(client, 'pi'), text)) === text
        }),
      ),
    )
    expect(sizes).toEqual(Array.from({ length: 9 }, () => true))
    const peers = await metric(holder, 'sshoal_relay_connections{direction="in"}')
    expect(peers).toBe(1)
  })

  test('a visit that nobody reads stalls only itself', async () => {
    await world.device(holder, 'pi', [':22', ':80'], (channel, { destPort }) => {
      if (destPort === 22) return echo(channel)
      channel.on('error', () => {})
      const block = Buffer.alloc(64 * 1024)
      const fill = (): void => {
        while (channel.writable && channel.write(block));
      }
      channel.on('drain', fill)
      fill()
    })
    const { client: slow } = await world.user(gate)
    const { client: fast } = await world.user(gate)
    const stalled = await visit(slow, 'pi', 80)
    stalled.pause()
    const text = 'y'.repeat(6 * 1024 * 1024)
    expect((await exchange(await visit(fast, 'pi'), text)).length).toBe(text.length)
    expect((await exchange(await visit(slow, 'pi'), 'beside it')).length).toBe(9)
  })

  test('what the carrier refuses, the user reads', async () => {
    await world.device(holder, 'pi')
    const { client } = await world.user(gate)
    await expect(visit(client, 'pi', 443)).rejects.toThrow('sshoal: pi offers no port 443')
    world.answer = (question, by) =>
      by === 'holder'
        ? { outcome: 'refused', code: 'UNKNOWN_TARGET', reason: 'not here' }
        : world.granted(question)
    await expect(visit(client, 'pi')).rejects.toThrow('sshoal: not here')
  })

  test('is never handed on again: a carrier that the master does not name refuses', async () => {
    const third = await world.slave('third', { relayListen: ['127.0.0.1:0'] })
    await world.device(third, 'pi')
    const { client } = await world.user(gate)
    world.answer = (question, by) => (by === 'gate' ? world.grant('holder', 'pi') : world.granted(question))
    const refused = expect(visit(client, 'pi')).rejects.toThrow('pi is elsewhere by now')
    await until(() => world.asked.filter(({ by }) => by === 'holder').length > 1)
    soonItIs(3_000)
    await refused
    expect(await metric(holder, 'sshoal_relay_connections{direction="out"}')).toBe(0)
  })

  test('names the grant by which it was let in; the carrier takes it for no other, and lets the gate ask anew', async () => {
    await world.device(holder, 'pi')
    const { client } = await world.user(gate)
    let seenByGate = 'g1'
    world.answer = (_question, by) =>
      world.grant('holder', 'pi', { grant: by === 'gate' ? seenByGate : 'g2' })
    const opening = visit(client, 'pi')
    // It counts when it has its answer, and again when the gate asked anew.
    await until(async () => (await metric(holder, 'sshoal_visits_refused_total{reason="other_grant"}')) > 0)
    seenByGate = 'g2'
    expect(await exchange(await opening, 'by the second')).toBe('by the second')
    const [ended] = await world.ended(holder)
    expect(ended?.grant).toBe('g2')
    seenByGate = 'g1'
    const refused = expect(visit(client, 'pi')).rejects.toThrow('what lets you reach pi has just changed')
    const before = world.asked.length
    await until(() => world.asked.length > before + 1)
    soonItIs(3_000)
    await refused
  })

  test('ends with its device, and the audit says so', async () => {
    const key = testKey()
    const ending = [
      [(device: ssh2.Client) => device.end(), 'the device disconnected'],
      [(device: ssh2.Client) => device.destroy(), 'the device disconnected'],
      [() => world.device(holder, 'pi', [':22'], echo, key), 'took over'],
    ] as const
    const { client } = await world.user(gate)
    for (const [n, [end, reason]] of ending.entries()) {
      const { client: device } = await world.device(holder, 'pi', [':22'], echo, key)
      const channel = await visit(client, 'pi')
      channel.resume()
      await until(() => world.reports(holder).length === 2 * n + 1)
      await end(device)
      const reports = await world.ended(holder, n + 1)
      expect(reports.at(-1)?.ended?.reason).toContain(reason)
    }
  })

  test('goes on by another grant when the one that opened it goes', async () => {
    await world.device(holder, 'pi')
    const { client, key } = await world.user(gate)
    const channel = await visit(client, 'pi')
    world.answer = () => world.grant('holder', 'pi', { grant: 'g2' })
    for (const { master } of [gate, holder])
      expect(await master.wire.request('invalidate', { number: 2, fingerprints: [key.fingerprint] })).toEqual(
        { cut: 0 },
      )
    expect(await exchange(channel, 'still')).toBe('still')
  })

  test('finds a device that moves while it is asked for', async () => {
    const { client: device } = await world.device(holder, 'pi')
    const { client } = await world.user(gate)
    device.end()
    await until(() => holder.master.said.some(([type]) => type === 'tunnel.down'))
    const opening = visit(client, 'pi')
    await until(() => world.asked.some(({ by }) => by === 'holder'))
    await world.device(gate, 'pi')
    expect(await exchange(await opening, 'found')).toBe('found')
  })

  test('is refused fast, and says so, where the other slave cannot be reached', async () => {
    await world.device(holder, 'pi')
    const { client } = await world.user(gate)
    const free = net.createServer().listen(0, '127.0.0.1')
    await once(free, 'listening')
    const { port } = free.address() as net.AddressInfo
    free.close()
    const away = world.grant('holder', 'pi')
    world.answer = () => ({
      ...away,
      carrier: { slave: 'holder', relay: { ...away.carrier.relay!, port } },
    })
    await expect(visit(client, 'pi')).rejects.toThrow('slave holder, which has pi, cannot be reached')
    world.answer = () => ({ ...away, carrier: { slave: 'holder' } })
    await expect(visit(client, 'pi')).rejects.toThrow('takes no visits from others')
  })

  test('goes only to a slave that shows a host key which the master named', async () => {
    await world.device(holder, 'pi')
    const { client } = await world.user(gate)
    const right = world.grant('holder', 'pi')
    world.answer = () => ({
      ...right,
      carrier: {
        slave: 'holder',
        relay: { ...right.carrier.relay!, hostKeys: [testKey().publicKey] },
      },
    })
    await expect(visit(client, 'pi')).rejects.toThrow('cannot be reached')
    expect(world.asked.filter(({ by }) => by === 'holder')).toEqual([])
  })

  test('a connection that died is made anew at the next visit', async () => {
    await world.device(holder, 'pi')
    const { client } = await world.user(gate)
    const road = await makeRoad()
    expect(await exchange(await visit(client, 'pi'), 'one')).toBe('one')
    const standing = await visit(client, 'pi')
    for (const socket of road.sockets) socket.destroy()
    standing.resume()
    await once(standing, 'close')
    expect(await exchange(await visit(client, 'pi'), 'two')).toBe('two')
    expect(road.sockets).toHaveLength(4)
    road.close()
  })

  test('a connection on which nothing comes back any more is given up as soon as a visit is asked for', async () => {
    await world.device(holder, 'pi')
    const { client } = await world.user(gate)
    const road = await makeRoad()
    const standing = await visit(client, 'pi')
    const [away] = road.sockets
    for (const socket of road.sockets) socket.unpipe().pause()
    road.server.close()
    standing.resume()
    const heard = away!.bytesRead
    const cut = once(standing, 'close')
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const refused = expect(visit(client, 'pi')).rejects.toThrow(
        'slave holder, which has pi, cannot be reached',
      )
      await until(() => away!.bytesRead > heard)
      // It doubts, asks for a sign of life, and waits for one.
      await vi.advanceTimersByTimeAsync(4_000)
      await Promise.all([cut, refused])
    } finally {
      vi.useRealTimers()
    }
    road.close()
  })
})

interface Road {
  server: net.Server
  sockets: net.Socket[]
  close(): void
}

/** What lies between the two slaves; the master names it as the way to the relay. */
async function makeRoad(): Promise<Road> {
  const sockets: net.Socket[] = []
  const server = net.createServer((socket) => {
    const on = net.connect(relayPort(), '127.0.0.1')
    sockets.push(socket, on)
    for (const each of [socket, on]) each.on('error', () => {})
    socket.pipe(on).pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const grant = world.grant('holder', 'pi')
  world.answer = (question, by) =>
    by === 'holder'
      ? world.granted(question)
      : { ...grant, carrier: { slave: 'holder', relay: { ...grant.carrier.relay!, port } } }
  return {
    server,
    sockets,
    close: () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

describe('the relay of a slave', () => {
  const login = (key = testKey()): Promise<ssh2.Client> => {
    const client = new ssh2.Client()
    return new Promise((resolve, reject) => {
      client.once('ready', () => resolve(client))
      client.once('error', reject)
      client.connect({ host: '127.0.0.1', port: relayPort(), username: 'evil', privateKey: key.privateKey })
    })
  }

  test('lets in nobody but slaves: not a user, not a device, not a stranger', async () => {
    const { key: user } = await world.user(holder)
    const { key: device } = await world.device(holder, 'pi')
    for (const key of [user, device, testKey()])
      await expect(login(key)).rejects.toThrow('authentication methods failed')
    const refusals = holder.master.said.filter(([type]) => type === 'refused').map(([, body]) => body)
    expect(refusals.at(-1)).toMatchObject({ code: 'NOT_A_PEER', username: 'evil' })
  })

  test('opens visits and nothing else', async () => {
    const key = testKey()
    world.script.peer = ({ publicKey }) => publicKey === key.publicKey
    const client = await login(key)
    client.on('error', () => {})
    await world.device(holder, 'pi')
    await expect(visit(client, 'pi')).rejects.toThrow('visits and nothing else')
    await expect(
      new Promise((resolve, reject) =>
        client.shell((error, channel) => (error ? reject(error) : resolve(channel))),
      ),
    ).rejects.toThrow('no channels of type session')
    await expect(
      new Promise((resolve, reject) =>
        client.forwardIn('', 0, (error, port) => (error ? reject(error) : resolve(port))),
      ),
    ).rejects.toThrow()
    expect(world.asked).toEqual([])
    client.destroy()
  })

  test('cuts who does not log in in time, as every other port does', async () => {
    const quick = await world.slave('quick', { relayListen: ['127.0.0.1:0'], loginGraceTime: ['1s'] })
    const socket = net.connect(quick.hello.relay?.port ?? 0, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    await once(socket, 'close')
    expect(await metric(quick, 'sshoal_refusals_total{code="LOGIN_TIMEOUT"}')).toBe(1)
  })

  test('turns away too many who are not logged in', async () => {
    const narrow = await world.slave('narrow', {
      relayListen: ['127.0.0.1:0'],
      maxSourceStartups: ['1'],
    })
    const port = narrow.hello.relay?.port ?? 0
    const first = net.connect(port, '127.0.0.1')
    await once(first, 'data')
    const second = net.connect(port, '127.0.0.1').on('error', () => {})
    second.resume()
    await once(second, 'close')
    first.destroy()
    expect(await world.user(narrow, ada)).toBeDefined()
  })
})

/** From now on the clock says that so much more has passed; timers take their time. */
function soonItIs(laterMs: number): void {
  const now = performance.now.bind(performance)
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + laterMs)
  onTestFinished(() => clock.mockRestore())
}

async function metric(slave: GateSlave, name: string): Promise<number> {
  const text = await (await fetch(`${slave.slave.statusUrl}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1) ?? 0)
}
