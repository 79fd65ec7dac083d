// Leases when things die: the master, the slave, both; a slave that is drained; masters that share a Redis; and where a
// private key must never be found.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, test } from 'vitest'

import type { Api } from '../kit/api.ts'
import {
  callApi,
  eventually,
  followEvents,
  makeFolder,
  openDevice,
  runSshoal,
  startCluster,
  startEcho,
  startMaster,
  startSlave,
  takePorts,
  visit,
  type Cluster,
  type Device,
  type Master,
} from '../kit/index.ts'
import { startRedis } from '../kit/redis.ts'

interface Lease {
  id: string
  device: string
  state: string
  connected: boolean
  privateKey: string
  port: number
  slave: string
  host: string
  sshPort: number
  knownHosts: string
  expiresAt: string
}

const here = ({ master }: Cluster): Api => ({ url: master.url, token: master.adminToken })

async function issue(api: Api, macaddress: string, timeout: number, more: object = {}): Promise<Lease> {
  const answer = await callApi<Lease>(api, 'POST', '/leases', { macaddress, timeout, ...more })
  expect(answer).toMatchObject({ status: 201 })
  return answer.body
}

function open(folder: string, lease: Lease, forward = `${lease.port}:localhost:22`): Device {
  const path = join(folder, `lease-${lease.id}`)
  writeFileSync(path, lease.privateKey, { mode: 0o600 })
  const key = { path, publicKey: '', fingerprint: '', wire: '' }
  return openDevice({ slave: { host: lease.host, port: lease.sshPort }, key, forwards: [forward] })
}

const connected = (api: Api, lease: Lease): Promise<unknown> =>
  eventually(async () =>
    expect(await callApi(api, 'GET', `/leases/${lease.id}`)).toMatchObject({ body: { connected: true } }),
  )

describe('a lease ends in time', () => {
  test('K064: with a dead master the slave ends it by itself; the master that comes back has cleared it away', async () => {
    const folder = makeFolder()
    const cluster = await startCluster()
    const lease = await issue(here(cluster), '02:00:00:00:00:01', 6_000)
    const later = await issue(here(cluster), '02:00:00:00:00:02', 600_000)
    const device = open(folder, lease)
    await connected(here(cluster), lease)
    cluster.master.process.signal('SIGKILL')
    await cluster.master.process.exited
    // Not yet used, and no master to ask: it opens all the same.
    const second = open(folder, later, '0:localhost:22')
    expect(await second.port()).toBe(later.port)
    await device.exited
    expect(Date.now() - Date.parse(lease.expiresAt)).toBeLessThan(1_000)
    expect(device.output).toContain('the time of this lease is over')
    const again = open(folder, lease)
    await again.exited
    expect(again.output).toContain('the time of this lease is over')
    await cluster.restartMaster('SIGKILL')
    await connected(here(cluster), later)
    expect(await cluster.api('GET', '/leases')).toMatchObject({ body: { leases: [{ id: later.id }] } })
    expect(second.exit).toBeUndefined()
  })

  test('over a restart of its slave: the port is kept for it, and the end is where it was', async () => {
    const folder = makeFolder()
    const cluster = await startCluster()
    const [slave] = cluster.slaves
    if (!slave) throw new Error('no slave')
    const lease = await issue(here(cluster), '02:00:00:00:00:03', 8_000)
    slave.process.signal('SIGKILL')
    await slave.process.exited
    const again = await startSlave({ ...slave, master: cluster.master, sshListen: `127.0.0.1:${slave.port}` })
    expect(again.port).toBe(slave.port)
    await eventually(async () =>
      expect(await cluster.cluster()).toMatchObject({ slaves: [{ state: 'ready' }] }),
    )
    const device = open(folder, lease, '0:localhost:22')
    expect(await device.port()).toBe(lease.port)
    await device.exited
    const late = Date.now() - Date.parse(lease.expiresAt)
    expect(Math.abs(late)).toBeLessThan(1_000)
  })
})

describe('slaves that go', () => {
  test('a draining slave gets no leases and keeps the live ones; a lost one strands them, and a new lease goes elsewhere', async () => {
    const folder = makeFolder()
    const cluster = await startCluster({ slaves: 2 })
    const events = await cluster.events()
    const lease = await issue(here(cluster), '02:00:00:00:00:04', 600_000)
    const device = open(folder, lease)
    await connected(here(cluster), lease)
    await cluster.api('POST', `/cluster/slaves/${lease.slave}/drain`, { seconds: 600 })
    await events.next('slave.draining', { slave: lease.slave })
    for (let n = 5; n < 9; n++) {
      const other = await issue(here(cluster), `02:00:00:00:00:0${n}`, 600_000)
      expect(other.slave).not.toBe(lease.slave)
    }
    expect(device.exit).toBeUndefined()
    // A lost connection does not end it, on this slave too.
    device.signal('SIGKILL')
    await device.exited
    const second = open(folder, lease, '0:localhost:22')
    expect(await second.port()).toBe(lease.port)
    cluster.slaves.find(({ id }) => id === lease.slave)?.process.signal('SIGKILL')
    await events.next('lease.stranded', { lease: lease.id })
    expect(await cluster.api('GET', `/leases/${lease.id}`)).toMatchObject({ body: { state: 'stranded' } })
    const next = await issue(here(cluster), '02:00:00:00:00:04', 600_000)
    expect(next.slave).not.toBe(lease.slave)
    expect(await open(folder, next, '0:localhost:22').port()).toBe(next.port)
  })
})

test('several masters on one Redis: 60 leases at once are 60 ports; one ends what the other made', async () => {
  const folder = makeFolder()
  const redis = await startRedis()
  const flags = ['--redis', redis.url]
  const masters: Master[] = [await startMaster({ flags }), await startMaster({ flags })]
  const [left, right] = masters.map(({ url, adminToken }): Api => ({ url, token: adminToken }))
  if (!left || !right || !masters[0] || !masters[1]) throw new Error('no masters')
  const slaves = await Promise.all(
    masters.map(async (master, n) =>
      startSlave({ master, id: `slave-${n}`, forwardPorts: await takePorts(100) }),
    ),
  )
  await eventually(async () => {
    for (const api of [left, right])
      expect((await callApi<{ slaves: unknown[] }>(api, 'GET', '/cluster')).body.slaves).toHaveLength(2)
  })
  const made = await Promise.all(
    Array.from({ length: 60 }, (_, n) =>
      issue(n % 2 ? left : right, `02:00:00:00:01:${String(n).padStart(2, '0')}`, 600_000),
    ),
  )
  expect(new Set(made.map(({ slave, port }) => `${slave}:${port}`)).size).toBe(60)
  expect(new Set(made.map(({ privateKey }) => privateKey)).size).toBe(60)
  expect(new Set(made.map(({ slave }) => slave)).size).toBe(slaves.length)
  // Made by one master, on a slave of the other.
  const lease = made.find(({ slave }, n) => slave === (n % 2 ? 'slave-1' : 'slave-0'))
  if (!lease) throw new Error('all leases stayed at home')
  const device = open(folder, lease, '0:localhost:22')
  expect(await device.port()).toBe(lease.port)
  await connected(right, lease)
  const heard = await followEvents(left)
  expect(await callApi(right, 'DELETE', `/leases/${lease.id}`)).toMatchObject({ body: { cut: 1 } })
  await device.exited
  expect(device.output).toContain('this lease was revoked')
  await heard.next('lease.revoked', { lease: lease.id })
  expect(await callApi(left, 'GET', `/leases/${lease.id}`)).toMatchObject({ status: 404 })
  // The issuing master dies: another ends it.
  const last = await issue(left, '02:00:00:00:02:00', 4_000)
  masters[0].process.signal('SIGKILL')
  await eventually(async () =>
    expect(await callApi(right, 'GET', `/leases/${last.id}`)).toMatchObject({ status: 404 }),
  )
  expect(Date.now() - Date.parse(last.expiresAt)).toBeLessThan(1_000)
})

test('K035 K106: a private key is in the answer, and nowhere else: no file, no log, no list', async () => {
  const cluster = await startCluster({
    masterFlags: ['--log-level', 'trace'],
    slaveFlags: ['--log-level', 'trace'],
  })
  const folder = makeFolder()
  const echo = await startEcho()
  const lease = await issue(here(cluster), '02:00:00:00:00:09', 600_000)
  const rsa = await issue(here(cluster), '02:00:00:00:00:0a', 600_000, { type: 'rsa' })
  const device = open(folder, lease, `${lease.port}:127.0.0.1:${echo.port}`)
  await connected(here(cluster), lease)
  await visit({ host: '127.0.0.1', port: lease.port }, 'x')
  await cluster.api('PATCH', `/leases/${lease.id}`, { timeout: '20m' })
  await cluster.api('DELETE', `/leases/${lease.id}`)
  await device.exited
  const env = { SSHOAL_URL: cluster.master.url, SSHOAL_TOKEN: cluster.master.adminToken }
  const listed = await runSshoal(['lease', 'ls', '--json'], { env, cwd: folder })
  const exported = await runSshoal(['events', '--json'], { env, cwd: folder })
  const { process, dataDir } = cluster.master
  const texts = [
    process.output,
    listed.stdout,
    exported.stdout,
    ...cluster.slaves.map((slave) => slave.process.output),
  ]
  const files = [dataDir, ...cluster.slaves.map((slave) => slave.folder)].flatMap((at) =>
    readdirSync(at, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  )
  expect(files.some((file) => file.endsWith('data.mdb'))).toBe(true)
  const places = [...texts.map((text) => Buffer.from(text)), ...files.map((file) => readFileSync(file))]
  // That such a search finds things at all: what may be stored is.
  const wire = (rsa as unknown as { publicKey: string }).publicKey.split(' ')[1] ?? ''
  expect(places.some((place) => place.includes(wire))).toBe(true)
  for (const { privateKey } of [lease, rsa]) {
    const lines = privateKey.trim().split('\n').slice(1, -1)
    // The first lines of the OpenSSH format are the public half.
    const secret = lines.slice(-2)
    for (const place of places) {
      for (const line of secret) expect(place.includes(line)).toBe(false)
      expect(place.includes(Buffer.from(secret.join(''), 'base64').subarray(0, 32))).toBe(false)
    }
  }
})
