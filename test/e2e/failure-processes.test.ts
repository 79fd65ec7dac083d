// Masters and slaves that are killed or stand still, with `ssh` as devices: nothing is lost that need not be, nothing is
// shown that is not there. After each, what the slaves hold is what every master shows.

import { beforeAll, expect, test } from 'vitest'

import {
  callApi,
  eventually,
  followEvents,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  startEcho,
  type Device,
  type Key,
} from '../kit/index.ts'
import { of, startMasters, type Masters } from '../kit/masters.ts'
import { roam, type Roamer } from '../kit/roamer.ts'
import { pause } from '../kit/wait.ts'

let all: Masters
let folder: string
let echo: { port: number }

beforeAll(async () => {
  folder = makeFolder()
  echo = await startEcho()
  all = await startMasters({ masters: 2, slaves: 3 })
}, 90_000)

async function enrol(id: string): Promise<Key> {
  const key = await makeKey(folder)
  await all.addDevice(id, key)
  return key
}

async function connect(id: string, slave: number): Promise<Device> {
  const key = await enrol(id)
  const device = openDevice({ slave: of(all.slaves, slave), key, forwards: [`0:localhost:${echo.port}`] })
  await device.port()
  return device
}

/** Whether it is there and echoes. */
async function talks(device: Device): Promise<void> {
  const visit = await openVisit({ host: '127.0.0.1', port: await device.port() })
  visit.send('are you there?')
  expect((await visit.receive(14)).toString()).toBe('are you there?')
  visit.close()
}

const slotWithin = (master: number, ms: number, not?: string) =>
  eventually(
    async () => {
      const { url } = of(all.masters, master)
      const { status, body } = await callApi<{ slave: string }>({ url }, 'GET', '/connect')
      expect(status).toBe(200)
      expect(body.slave).not.toBe(not)
    },
    { within: ms },
  )

const linkedTo = (slave: number, master: number, within = 5_000) =>
  eventually(
    () => {
      const links = of(all.slaves, slave).process.logs.filter(({ msg }) => msg === 'linked')
      expect(links.at(-1)?.url).toBe(of(all.masters, master).url)
    },
    { within },
  )

test('a master that is killed takes no tunnel along: its slaves move, slots go on, and when it is back both agree', async () => {
  const devices = await Promise.all(['a1', 'a2', 'a3'].map((id, n) => connect(id, n)))
  const tunnels = ['a1 s1', 'a2 s2', 'a3 s3']
  await all.agreed(tunnels)
  const events = await followEvents({ url: of(all.masters, 1).url, token: of(all.masters, 1).adminToken })
  const at = performance.now()
  of(all.masters, 0).process.signal('SIGKILL')
  await of(all.masters, 0).process.exited
  await slotWithin(1, 5_000)
  await Promise.all([linkedTo(0, 1), linkedTo(2, 1)])
  process.stdout.write(`slaves of a killed master moved within ${Math.round(performance.now() - at)} ms\n`)
  expect(performance.now() - at).toBeLessThan(5_000)
  await all.agreed(tunnels)
  await Promise.all(devices.map(talks))
  expect(devices.map(({ exit }) => exit)).toEqual([undefined, undefined, undefined])
  // Nobody was told that a tunnel had ended.
  expect(events.list.filter(({ type }) => type === 'tunnel.down' || type === 'slave.lost')).toEqual([])
  events.close()
  // The dead master leaves the list by itself.
  await eventually(async () => expect((await all.cluster(1)).masters).toHaveLength(1), { within: 15_000 })
  await all.restartMaster(0)
  await all.agreed(tunnels)
  await Promise.all(devices.map((device) => device.stop(0)))
  await all.agreed([])
}, 90_000)

test('a slave that is killed is gone from every master within 5 s, and its devices are back elsewhere', async () => {
  const ids = ['b1', 'b2', 'b3', 'b4']
  const roamers: Roamer[] = []
  for (const id of ids) {
    const key = await enrol(id)
    roamers.push(roam({ key, masters: () => all.masters.map(({ url }) => url) }))
  }
  await eventually(async () => expect(await all.agreed()).toHaveLength(ids.length), { within: 30_000 })
  const dying = (await all.agreed()).at(0)?.split(' ')[1] ?? ''
  const n = all.slaves.findIndex(({ id }) => id === dying)
  const at = performance.now()
  of(all.slaves, n).process.signal('SIGKILL')
  for (const master of [0, 1])
    await eventually(
      async () => expect((await all.cluster(master)).slaves.map(({ id }) => id)).not.toContain(dying),
      { within: 5_000 },
    )
  expect(performance.now() - at).toBeLessThan(5_500)
  for (const master of [0, 1])
    expect((await all.tunnels(master)).filter(({ slave }) => slave === dying)).toEqual([])
  await eventually(async () => expect(await all.agreed()).toHaveLength(ids.length), { within: 30_000 })
  await all.restartSlave(n)
  await slotWithin(0, 5_000)
  await Promise.all(roamers.map((roamer) => roamer.stop()))
  await all.agreed([])
}, 120_000)

test('a master and its slave that are killed together are swept by the other, and the devices are back elsewhere', async () => {
  const keys = [await enrol('c1'), await enrol('c2')]
  const roamers = keys.map((key) => roam({ key, masters: () => all.masters.map(({ url }) => url) }))
  await eventually(async () => expect(await all.agreed()).toHaveLength(2), { within: 30_000 })
  const device = await connect('c3', 1)
  await eventually(async () => expect(await all.agreed()).toHaveLength(3))
  const at = performance.now()
  of(all.masters, 1).process.signal('SIGKILL')
  of(all.slaves, 1).process.signal('SIGKILL')
  await device.exited
  await slotWithin(0, 5_000)
  await eventually(
    async () => expect((await all.cluster(0)).slaves.map(({ id }) => id)).toEqual(['s1', 's3']),
    { within: 20_000 },
  )
  process.stdout.write(`a master and its slave were swept after ${Math.round(performance.now() - at)} ms\n`)
  await eventually(async () => expect(await all.agreed()).toHaveLength(2), { within: 20_000 })
  await all.restartMaster(1)
  await all.restartSlave(1)
  await eventually(async () => expect((await all.cluster(1)).totals.slaves).toBe(3), { within: 15_000 })
  await Promise.all(roamers.map((roamer) => roamer.stop()))
  await all.agreed([])
}, 120_000)

test('a master that stands still for 20 s and goes on makes no ghost, no double and wipes no tunnel', async () => {
  const devices = await Promise.all(['d1', 'd2', 'd3'].map((id, n) => connect(id, n)))
  const [moving] = devices
  if (!moving) throw new Error('no device')
  await all.agreed(['d1 s1', 'd2 s2', 'd3 s3'])
  const paused = of(all.masters, 0)
  const events = await followEvents({ url: of(all.masters, 1).url, token: of(all.masters, 1).adminToken })
  paused.process.signal('SIGSTOP')
  await Promise.all([
    pause(20_000),
    (async () => {
      await slotWithin(1, 5_000)
      // Before anybody sweeps it, which is what no tunnel may notice.
      await linkedTo(0, 1, 8_000)
      // Meanwhile the world goes on.
      await of(devices, 2).stop(0)
    })(),
  ])
  paused.process.signal('SIGCONT')
  await all.agreed(['d1 s1', 'd2 s2'])
  await talks(moving)
  expect(events.list.filter(({ type, data }) => type === 'tunnel.down' && data.device !== 'd3')).toEqual([])
  expect(of(devices, 1).exit).toBeUndefined()
  await Promise.all(devices.map((device) => device.stop(0)))
  await all.agreed([])
}, 120_000)

test('a slave that stands still for 20 s and goes on: its tunnels are back, and who moved meanwhile stays where he is', async () => {
  const [stays, moves] = [await connect('e1', 0), await enrol('e2')]
  const first = openDevice({ slave: of(all.slaves, 0), key: moves })
  await first.port()
  await all.agreed(['e1 s1', 'e2 s1'])
  const slave = of(all.slaves, 0)
  slave.process.signal('SIGSTOP')
  const [second] = await Promise.all([
    (async () => {
      const device = openDevice({ slave: of(all.slaves, 1), key: moves })
      await device.port()
      return device
    })(),
    pause(20_000),
  ])
  for (const n of [0, 1]) expect((await all.cluster(n)).slaves.map(({ id }) => id)).toEqual(['s2', 's3'])
  slave.process.signal('SIGCONT')
  await first.exited
  await all.agreed(['e1 s1', 'e2 s2'])
  await talks(stays)
  expect(second.exit).toBeUndefined()
  await Promise.all([stays, second].map((device) => device.stop(0)))
  await all.agreed([])
}, 120_000)
