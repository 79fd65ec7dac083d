// Take-over with stock clients: the newest connection of a device wins, at once, on one slave and across slaves; what
// looks like two machines with one key settles; and logins that ask for no forward touch nothing.

import { beforeAll, describe, expect, test } from 'vitest'

import {
  callApi,
  createNetwork,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  start,
  startCluster,
  startMaster,
  startSlave,
  type Cluster,
  type Device,
  type Key,
  type Network,
  type Slave,
  type Started,
  type TunnelView,
} from '../kit/index.ts'

let cluster: Cluster
let one: Slave
let two: Slave
let devices = 0

beforeAll(async () => {
  cluster = await startCluster({ slaves: 2 })
  ;[one, two] = cluster.slaves as [Slave, Slave]
})

/** A device of this test's own. */
async function enrol(): Promise<{ id: string; key: Key }> {
  const id = `device-${++devices}`
  const key = await makeKey(makeFolder())
  await cluster.addDevice(id, key)
  return { id, key }
}

async function tunnelsOf(id: string): Promise<TunnelView[]> {
  const tunnels = await cluster.tunnels()
  return tunnels.filter(({ device }) => device === id)
}

/** The epoch of the tunnel that is up from there. */
function upFrom(id: string, remoteAddress: string): Promise<number> {
  return eventually(async () => {
    const tunnels = await tunnelsOf(id)
    expect(tunnels).toMatchObject([{ remoteAddress }])
    return tunnels[0]!.epoch
  })
}

/** A machine that connects again as soon as it is cut, as a supervised `ssh` does. */
function keepUp(from: string, slave: Slave, key: Key) {
  const machine = { connects: 0, said: '', stopped: false, current: undefined as Device | undefined }
  const go = (): void => {
    if (machine.stopped) return
    machine.connects++
    const device = openDevice({ slave, key, options: ['-b', from] })
    machine.current = device
    void device.exited.then(() => {
      machine.said += device.output
      go()
    })
  }
  go()
  return machine
}

describe('T093: a device whose network vanishes', () => {
  const hosts = { server: ['10.77.0.1/24'], device: ['10.77.0.2/24'] }
  let network: Network
  let slaves: Slave[]
  let api: { url: string; token: string; netns: string }
  let events: Started

  beforeAll(async () => {
    network = await createNetwork({ hosts })
    const netns = network.netns('server')
    const master = await startMaster({ netns })
    const startOne = (id: string) =>
      startSlave({ master, id, netns, flags: ['--public-host', '10.77.0.1'], sshListen: '10.77.0.1:0' })
    slaves = await Promise.all(['slave-1', 'slave-2'].map(startOne))
    api = { url: master.url, token: master.adminToken, netns }
    const header = `authorization: Bearer ${master.adminToken}`
    events = start('curl', ['-sN', '-H', header, `${master.url}/cluster/events`], { netns })
  })

  test.each([
    ['on one slave', [0, 0, 0, 0, 0, 0]],
    ['across slaves', [0, 1, 0, 1, 0, 1]],
  ])(
    'is up again as soon as it reconnects, %s; five changes are five quick returns and no clone',
    async (_where, order) => {
      const id = `device-${++devices}`
      const key = await makeKey(makeFolder())
      expect((await callApi(api, 'POST', '/devices', { id, keys: [key.publicKey] })).status).toBeLessThan(300)
      const list = async () => {
        const { body } = await callApi<{ tunnels: TunnelView[] }>(api, 'GET', `/cluster/tunnels?device=${id}`)
        return body.tunnels
      }
      const ports = new Map<number, number>()
      let device: Device | undefined
      for (const [change, which] of order.entries()) {
        const remoteAddress = `10.77.0.${change + 10}`
        await network.readdress('device', [`${remoteAddress}/24`])
        // Nothing that the old connection sends can leave: its address is gone.
        device?.signal('SIGKILL')
        const began = performance.now()
        device = openDevice({ slave: slaves[which]!, key, netns: network.netns('device') })
        const port = await device.port()
        expect(performance.now() - began).toBeLessThan(3_000)
        // The same port again, although the old connection had it a moment before.
        expect(port).toBe(ports.get(which) ?? port)
        ports.set(which, port)
        await eventually(async () => {
          expect(await list()).toMatchObject([{ slave: `slave-${which + 1}`, remoteAddress }])
        })
      }
      const last = await list()
      // All that were replaced were asked for a sign of life, gave none, and are gone.
      await eventually(async () => {
        const pages = await Promise.all(
          slaves.map(({ statusUrl }) =>
            callApi<string>({ url: statusUrl, netns: api.netns }, 'GET', '/metrics'),
          ),
        )
        const counts = pages.map(({ body }) =>
          Number(/connections\{state="authenticated"\} (\d+)/.exec(body)?.[1] ?? 0),
        )
        expect(counts[0]! + counts[1]!).toBe(1)
      })
      expect(events.output).not.toContain('device.cloned')
      expect(await list()).toEqual(last)
      expect(device?.exit).toBeUndefined()
      await device?.stop()
    },
  )
})

describe.each([
  ['on one slave', 0],
  ['across slaves', 1],
] as const)('two live machines with one key, %s', (_where, second) => {
  test('settle with one event that names both, and the one that stays is left alone', async () => {
    const { id, key } = await enrol()
    const events = await cluster.events()
    const machines = [
      keepUp('127.0.0.2', one, key),
      keepUp('127.0.0.3', cluster.slaves[second]!, key),
    ] as const
    const event = await events.next('device.cloned', { device: id }, 30_000)
    expect([...(event.data.addresses as string[])].sort()).toEqual(['127.0.0.2', '127.0.0.3'])
    const [stays] = await tunnelsOf(id)
    const order = stays?.remoteAddress === '127.0.0.2' ? machines : machines.toReversed()
    const [winner, loser] = order as [(typeof machines)[0], (typeof machines)[0]]
    const tries = loser.connects
    await eventually(() => loser.connects >= tries + 3, { within: 20_000 })
    expect(loser.said).toMatch(
      /is connected from 127\.0\.0\.\d and answers there; two machines seem to share one key/,
    )
    expect(winner.current?.exit).toBeUndefined()
    expect(await tunnelsOf(id)).toMatchObject([{ epoch: stays?.epoch }])
    expect(
      events.list.filter(({ type, data }) => type === 'device.cloned' && data.device === id),
    ).toHaveLength(1)
    // When the incumbent goes, the other one is welcome: nobody is locked out.
    winner.stopped = true
    await winner.current?.stop()
    await upFrom(id, stays?.remoteAddress === '127.0.0.2' ? '127.0.0.3' : '127.0.0.2')
    loser.stopped = true
    await loser.current?.stop()
  })
})

test('the one that is replaced reads why, and there is one tunnel with a greater epoch', async () => {
  const { id, key } = await enrol()
  const events = await cluster.events()
  const from = (address: string, slave: Slave) => openDevice({ slave, key, options: ['-b', address] })
  const first = from('127.0.0.2', one)
  const epoch = await upFrom(id, '127.0.0.2')
  const second = from('127.0.0.3', one)
  expect(await upFrom(id, '127.0.0.3')).toBeGreaterThan(epoch)
  const third = from('127.0.0.4', two)
  expect(await upFrom(id, '127.0.0.4')).toBeGreaterThan(epoch)
  await Promise.all([first.exited, second.exited])
  expect(first.output).toContain(`a newer connection of ${id} from 127.0.0.3 took over`)
  expect(second.output).toContain(`a newer connection of ${id} from 127.0.0.4 took over`)
  expect(third.exit).toBeUndefined()
  await events.next('tunnel.moved', { device: id, from: one.id, slave: two.id })
})

test('a login that shows the status, or asks for no forward, cuts nothing', async () => {
  const { id, key } = await enrol()
  const device = openDevice({ slave: one, key })
  const port = await device.port()
  const epoch = await upFrom(id, '127.0.0.1')
  const silent = openDevice({ slave: one, key, forwards: [], options: ['-v'] })
  const status = openDevice({ slave: one, key, forwards: [], command: [], options: ['-T'] })
  await silent.waitForOutput(/Authenticated to/)
  await status.waitForOutput(new RegExp(`You are device ${id}[^]*:${port}`))
  await Promise.all([silent.stop(), status.stop()])
  expect(device.exit).toBeUndefined()
  expect(await upFrom(id, '127.0.0.1')).toBe(epoch)
})

test('two newcomers at once on two slaves leave one tunnel', async () => {
  const { id, key } = await enrol()
  const both = cluster.slaves.map((slave) => openDevice({ slave, key }))
  await Promise.race(both.map(({ exited }) => exited))
  await eventually(async () => expect(await tunnelsOf(id)).toHaveLength(1))
  const [loser, winner] = both[0]!.exit ? both : both.toReversed()
  expect(loser!.output).toMatch(/a newer (connection|tunnel) of /)
  expect(winner!.exit).toBeUndefined()
})

test('without a master the newest still wins: at once on its slave, across slaves when a master is back', async () => {
  const { id, key } = await enrol()
  // Both slaves have seen the key, so that they know it while nobody can be asked.
  await Promise.all(
    cluster.slaves.map(async (slave) => {
      const status = openDevice({ slave, key, forwards: [], command: [], options: ['-T'] })
      await status.waitForOutput(/You are device/)
      await status.stop()
    }),
  )
  const from = (address: string, slave: Slave) => openDevice({ slave, key, options: ['-b', address] })
  const first = from('127.0.0.2', one)
  await upFrom(id, '127.0.0.2')
  await cluster.master.process.stop()
  await Promise.all(cluster.slaves.map(({ process }) => process.logged('link lost')))
  const second = from('127.0.0.3', one)
  await second.port()
  await first.exited
  const third = from('127.0.0.4', two)
  await third.port()
  expect(second.exit).toBeUndefined()
  await cluster.restartMaster()
  await second.exited
  expect(second.output).toMatch(/a newer (connection|tunnel) of /)
  await upFrom(id, '127.0.0.4')
  expect(third.exit).toBeUndefined()
})
