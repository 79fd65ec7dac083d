// Drain and stop with real devices: who leaves when, what happens to visits, signals and exit codes, and a rolling
// restart of all slaves.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, test } from 'vitest'

import { startDeviceScript } from '../kit/device-script.ts'
import {
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  runSshoal,
  startCluster,
  startEcho,
  startSlave,
  type Cluster,
  type Key,
} from '../kit/index.ts'

async function enrol(cluster: Cluster, id: string): Promise<Key> {
  const key = await makeKey(makeFolder())
  await cluster.addDevice(id, key)
  return key
}

test('`sshoal slave drain` moves devices one after the other, those without visits first, and cuts no visit that ends in time', async () => {
  const cluster = await startCluster({ slaves: 2 })
  const [slave] = cluster.slaves
  const echo = await startEcho()
  const events = await cluster.events()
  const names = ['busy', 'idle-1', 'idle-2', 'idle-3']
  const devices = await Promise.all(
    names.map(async (id) => {
      const key = await enrol(cluster, id)
      const device = openDevice({ slave: slave!, key, forwards: [`0:127.0.0.1:${echo.port}`] })
      return { id, device, port: await device.port() }
    }),
  )
  const [busy] = devices
  const visit = await openVisit({ host: '127.0.0.1', port: busy!.port })
  visit.send('before ')
  await visit.receive(7)

  const env = { SSHOAL_URL: cluster.master.url, SSHOAL_TOKEN: cluster.master.adminToken }
  const asked = await runSshoal(['slave', 'drain', slave!.id, '--over', '4s'], { env, cwd: makeFolder() })
  expect(asked).toMatchObject({ status: 0, stdout: `${slave!.id} is draining, tunnels to move 4\n` })
  const { at } = (await events.next('slave.draining', { slave: slave!.id })).data
  const passed = () => Date.now() - Date.parse(String(at))
  await Promise.all(devices.slice(1).map(({ device }) => device.exited))
  // Spread: the third of four goes no sooner than half of the time.
  expect(passed()).toBeGreaterThan(1_900)
  for (const { device } of devices.slice(1))
    expect(device.output).toContain('this slave is being drained; ask the master for another')
  expect(busy!.device.exit).toBeUndefined()
  visit.send('and after')
  expect((await visit.receive(16)).toString()).toBe('before and after')
  visit.halfClose()
  await eventually(() => visit.ended)
  await busy!.device.exited
  expect(visit.error).toBeUndefined()
  expect(passed()).toBeLessThan(3_900)

  // Nobody is sent there any more, and who asks is told where to go.
  const slots = await Promise.all(
    Array.from({ length: 4 }, () => cluster.api<{ slave: string }>('GET', '/connect')),
  )
  expect(slots.map(({ body }) => body.slave)).toEqual(Array.from({ length: 4 }, () => 'slave-2'))
  expect((await fetch(`${slave!.statusUrl}/readyz`)).status).toBe(503)
  const unknown = await runSshoal(['slave', 'drain', 'nobody', '--over', '1s'], { env, cwd: makeFolder() })
  expect(unknown).toMatchObject({ status: 1, stderr: expect.stringContaining('nobody') })
})

describe('a slave', () => {
  test('moves its devices away at SIGTERM within --drain-timeout, takes no new ones, and ends with 0', async () => {
    const cluster = await startCluster({ slaveFlags: ['--drain-timeout', '2s'] })
    const [slave] = cluster.slaves
    const echo = await startEcho()
    const events = await cluster.events()
    const device = openDevice({
      slave: slave!,
      key: await enrol(cluster, 'barn'),
      forwards: [`0:127.0.0.1:${echo.port}`],
    })
    const visit = await openVisit({ host: '127.0.0.1', port: await device.port() })
    visit.send('x')
    await visit.receive(1)
    const late = await enrol(cluster, 'late')
    slave!.process.signal('SIGTERM')
    await events.next('slave.draining', { slave: slave!.id })
    const newcomer = openDevice({ slave: slave!, key: late })
    await newcomer.exited
    expect(newcomer.output).toContain('ask the master for another')
    // The visit holds its device until the time is over.
    expect(device.exit).toBeUndefined()
    await device.exited
    expect(await slave!.process.exited).toEqual({ status: 0, signal: null })
    await events.next('slave.lost', { slave: slave!.id, reason: 'the slave stops' })
    expect(device.output).toContain('ask the master for another')
  })

  test('ends at once at a second signal', async () => {
    const cluster = await startCluster({ slaveFlags: ['--drain-timeout', '1h'] })
    const [slave] = cluster.slaves
    const echo = await startEcho()
    const key = await enrol(cluster, 'barn')
    const device = openDevice({ slave: slave!, key, forwards: [`0:127.0.0.1:${echo.port}`] })
    const visit = await openVisit({ host: '127.0.0.1', port: await device.port() })
    visit.send('x')
    await visit.receive(1)
    slave!.process.signal('SIGTERM')
    const { msg } = await slave!.process.logged('stopping')
    expect(msg).toBe('stopping')
    // Two signals within a quarter of a second are one wish, so it is said until it is heard.
    await eventually(() => {
      slave!.process.signal('SIGTERM')
      return slave!.process.exit !== undefined
    })
    expect(slave!.process.exit).toEqual({ status: 143, signal: null })
  })
})

test('a rolling restart of all slaves under load loses no device for longer than it takes to reconnect', async () => {
  // One host key for all, as slaves usually have it, so that a device trusts whichever slave it is sent to.
  const flags = ['--drain-timeout', '1s', '--host-key', join(makeFolder(), 'host-key')]
  const cluster = await startCluster({ slaves: 2, slaveFlags: flags })
  const echo = await startEcho()
  const events = await cluster.events()
  const slot = await (await fetch(`${cluster.master.url}/connect?format=text`)).text()
  const known = join(makeFolder(), 'known_hosts')
  writeFileSync(known, slot.split('\n').slice(1).join('\n'))
  const ids = ['a', 'b', 'c', 'd', 'e', 'f']
  for (const id of ids) {
    const key = await enrol(cluster, id)
    const forward = ['--forward', `0:127.0.0.1:${echo.port}`]
    startDeviceScript({ key, args: ['--master', cluster.master.url, '--known-hosts', known, ...forward] })
  }
  const all = async () => expect(await cluster.tunnels()).toHaveLength(ids.length)
  await eventually(all, { within: 20_000 })
  for (const slave of cluster.slaves) {
    slave.process.signal('SIGTERM')
    expect(await slave.process.exited).toEqual({ status: 0, signal: null })
    await startSlave({ ...slave, master: cluster.master, flags })
    await eventually(all, { within: 20_000 })
  }
  // From each loss to the next tunnel of that device: one back-off, its client's start, a slot, a login.
  const times = ids.flatMap((id) => {
    const own = events.list.filter(({ type, data }) => data.device === id && /^tunnel\.(up|down)$/.test(type))
    expect(own.at(-1)?.type).toBe('tunnel.up')
    return own.flatMap(({ type, data }, n) =>
      type === 'tunnel.down' ? [Date.parse(String(own[n + 1]?.data.at)) - Date.parse(String(data.at))] : [],
    )
  })
  expect(times.length).toBeGreaterThanOrEqual(ids.length)
  expect(Math.max(...times)).toBeLessThan(3_000)
})
