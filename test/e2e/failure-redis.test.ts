// Redis dies, comes back with its data and without, and stands still, under two masters with `ssh` as devices.

import { beforeAll, expect, test } from 'vitest'

import {
  asOwner,
  callApi,
  eventually,
  followEvents,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  runSshoal,
  startEcho,
  type Device,
  type Events,
  type Key,
} from '../kit/index.ts'
import { of, startMasters, type Masters } from '../kit/masters.ts'
import { pause } from '../kit/wait.ts'

let all: Masters
let folder: string
let echo: { port: number }
const devices = new Map<string, Device>()
const keys = new Map<string, Key>()

beforeAll(async () => {
  folder = makeFolder()
  echo = await startEcho()
  all = await startMasters({ masters: 2, slaves: 2 })
  for (const [id, slave] of [
    ['still', 0],
    ['other', 1],
    ['moves', 0],
    ['again', 1],
  ] as const) {
    const key = await makeKey(folder)
    keys.set(id, key)
    await all.addDevice(id, key)
    await connect(id, slave)
  }
  await all.agreed(['again s2', 'moves s1', 'other s2', 'still s1'])
}, 90_000)

async function connect(id: string, slave: number): Promise<Device> {
  const key = keys.get(id)
  if (!key) throw new Error(`no key of ${id}`)
  // The tests share them.
  const device = asOwner('file', () =>
    openDevice({ slave: of(all.slaves, slave), key, forwards: [`0:localhost:${echo.port}`] }),
  )
  await device.port()
  devices.set(id, device)
  return device
}

async function talks(id: string): Promise<void> {
  const device = devices.get(id)
  const visit = await openVisit({ host: '127.0.0.1', port: (await device?.port()) ?? 0 })
  visit.send('hello')
  expect((await visit.receive(5)).toString()).toBe('hello')
  visit.close()
}

const follow = (n: number): Promise<Events> =>
  followEvents({ url: of(all.masters, n).url, token: of(all.masters, n).adminToken })
const write = (n: number) =>
  all
    .api<{ code?: string }>(n, 'PATCH', '/devices/still', { name: `at ${Date.now()}` })
    .then(({ status, body }) => (status === 200 ? 'written' : `${status} ${body.code}`))
const bothWrite = (expected: string, within = 15_000) =>
  eventually(async () => expect([await write(0), await write(1)]).toEqual([expected, expected]), {
    within,
  }).catch((error: unknown) => {
    const logs = all.masters.map(({ process }) => process.output.split('\n').slice(-30).join('\n'))
    throw new Error([String(error), all.redis.process.output, ...logs].join('\n'), { cause: error })
  })

/** What goes on without Redis: slots, views, tunnels, and devices that a slave has let in before. */
async function lifeWithoutRedis(): Promise<void> {
  for (const n of [0, 1]) {
    expect((await callApi({ url: of(all.masters, n).url }, 'GET', '/connect')).status).toBe(200)
    expect(await all.tunnels(n)).toHaveLength(4)
  }
  await Promise.all([...devices.keys()].map(talks))
  const epoch = async () => (await all.tunnels(1)).find(({ device }) => device === 'again')?.epoch ?? 0
  const before = await epoch()
  const at = performance.now()
  await devices.get('again')?.stop(0)
  await connect('again', 1)
  expect(performance.now() - at).toBeLessThan(5_000)
  await talks('again')
  await eventually(async () => expect(await epoch()).toBeGreaterThan(before))
}

test('while Redis is killed tunnels, views, slots and known devices go on, writes are refused with 503, and with its data all is as before', async () => {
  const events = await follow(0)
  await all.redis.kill()
  await bothWrite('503 STORE_UNAVAILABLE')
  await lifeWithoutRedis()
  await all.redis.restart()
  await bothWrite('written')
  await all.agreed(['again s2', 'moves s1', 'other s2', 'still s1'])
  expect(events.list.filter(({ type, data }) => type === 'tunnel.down' && data.device !== 'again')).toEqual(
    [],
  )
  expect(events.list.filter(({ type }) => type === 'slave.lost')).toEqual([])
  events.close()
}, 90_000)

test('a device that moves while Redis is away is at its new slave when Redis is back, and its old slave lets go', async () => {
  // Each master has told its slaves all that was changed while they could not hear each other.
  for (const n of [0, 1]) await eventually(async () => expect(await write(n)).toBe('written'))
  // s2 must have heard of it, to know it later without a store.
  const before = devices.get('moves')
  await connect('moves', 1)
  await before?.exited
  await all.agreed(['again s2', 'moves s2', 'other s2', 'still s1'])
  const old = await connect('moves', 0)
  await all.agreed(['again s2', 'moves s1', 'other s2', 'still s1'])
  await all.redis.kill()
  await eventually(async () => expect(await write(1)).toContain('503'))
  await connect('moves', 1)
  // Its masters cannot tell each other now; each shows what it knows.
  await eventually(async () =>
    expect((await all.tunnels(1)).find(({ device }) => device === 'moves')?.slave).toBe('s2'),
  )
  await all.redis.restart()
  await old.exited
  await all.agreed(['again s2', 'moves s2', 'other s2', 'still s1'])
  await talks('moves')
}, 90_000)

test('a Redis that comes back without its data cuts nobody: writes are refused with STORE_CHANGED until one master is told to accept it', async () => {
  await all.redis.restart({ empty: true })
  await bothWrite('503 STORE_CHANGED')
  await all.agreed(['again s2', 'moves s2', 'other s2', 'still s1'])
  await Promise.all([...devices.keys()].map(talks))
  // One that a slave knows comes back in.
  await devices.get('again')?.stop(0)
  await connect('again', 1)
  await all.agreed(['again s2', 'moves s2', 'other s2', 'still s1'])
  // The token of before is known to no store; the command on the master's machine is let in by the master's own file.
  const { url, dataDir } = of(all.masters, 0)
  const accepted = await runSshoal(['store', 'accept', '--yes', '--url', url, '--data', dataDir])
  expect(accepted.stdout + accepted.stderr).toContain('accepted')
  expect(accepted.status).toBe(0)
  await eventually(async () => {
    for (const n of [0, 1]) expect((await all.api(n, 'GET', '/devices')).status).toBe(200)
  })
  expect([...devices.values()].map(({ exit }) => exit)).toEqual([undefined, undefined, undefined, undefined])
}, 90_000)

test('a Redis that stands still for 20 s wipes no tunnel and makes no ghost', async () => {
  // The store is another one by now; what lives is known by its tunnels.
  const expected = ['again s2', 'moves s2', 'other s2', 'still s1']
  const streams = [await follow(0), await follow(1)]
  all.redis.signal('SIGSTOP')
  await Promise.all([pause(20_000), lifeWithoutRedis()])
  all.redis.signal('SIGCONT')
  await eventually(async () => expect((await all.api(0, 'GET', '/devices')).status).toBe(200))
  await all.agreed(expected)
  for (const { list } of streams) {
    expect(list.filter(({ type, data }) => type === 'tunnel.down' && data.device !== 'again')).toEqual([])
    expect(list.filter(({ type }) => type === 'slave.lost')).toEqual([])
  }
  await all.agreed(expected)
}, 90_000)
