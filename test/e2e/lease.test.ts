// Leases with a stock ssh: what opens, what is refused and why, and how a lease ends.

import { writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'

import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'

import {
  callApi,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  run,
  runSshoal,
  start,
  startCluster,
  startEcho,
  visit,
  type Answer,
  type Cluster,
  type Device,
  type Slave,
} from '../kit/index.ts'

interface Lease {
  id: string
  device: string
  state: string
  privateKey?: string
  publicKey: string
  fingerprint: string
  port: number
  slave: string
  host: string
  sshPort: number
  knownHosts: string
  visit: { address: string; port: number }
  expiresAt: string
  remainingMs: number
  connected: boolean
  command: string
}

let cluster: Cluster
let folder: string
let macs = 0x1000

beforeAll(async () => {
  folder = makeFolder()
  cluster = await startCluster({ slaves: 2 })
})

function slaveOf(isMeant: (slave: Slave) => boolean): Slave {
  const found = cluster.slaves.find(isMeant)
  if (!found) throw new Error('no such slave')
  return found
}

const newMac = (): string =>
  `02:00:00:00:${[...(++macs).toString(16).padStart(4, '0').matchAll(/../g)].join(':')}`

const ask = (body: object): Promise<Answer<Lease>> => cluster.api<Lease>('POST', '/leases', body)

async function issue(more: object = {}): Promise<Lease> {
  const answer = await ask({ macaddress: newMac(), timeout: 60_000, ...more })
  expect(answer).toMatchObject({ status: 201 })
  return answer.body
}

function keyFile(lease: Lease): { path: string; publicKey: string; fingerprint: string; wire: string } {
  const path = join(folder, `lease-${lease.id}`)
  writeFileSync(path, lease.privateKey ?? '', { mode: 0o600 })
  return { path, publicKey: lease.publicKey, fingerprint: lease.fingerprint, wire: '' }
}

/** A stock ssh with what the answer gave and nothing else. */
function open(lease: Lease, forward = `${lease.port}:localhost:22`): Device {
  return openDevice({
    slave: { host: lease.host, port: lease.sshPort },
    key: keyFile(lease),
    knownHosts: lease.knownHosts.trim().split('\n'),
    forwards: [forward],
    username: 'lease',
  })
}

async function occupy(port: number): Promise<Server> {
  const server = createServer().listen(port, '127.0.0.1')
  onTestFinished(() => void server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  return server
}

const connected = (lease: Lease): Promise<unknown> =>
  eventually(async () =>
    expect(await cluster.api('GET', `/leases/${lease.id}`)).toMatchObject({ body: { connected: true } }),
  )

const ended = async (device: Device): Promise<string> => {
  await device.exited
  return device.output
}

describe('a lease opens its port', () => {
  test('K001 K100 K101: what is answered works at once, host keys included, from a stock ssh -R PORT', async () => {
    const echo = await startEcho()
    const lease = await issue()
    const device = open(lease, `${lease.port}:127.0.0.1:${echo.port}`)
    await connected(lease)
    expect((await visit({ host: lease.visit.address, port: lease.visit.port }, 'hello')).toString()).toBe(
      'hello',
    )
    expect(device.exit).toBeUndefined()
    expect(lease.command).toContain(`-R ${lease.port}:`)
  })

  test('-R 0 is told that very port', async () => {
    const lease = await issue()
    expect(await open(lease, '0:localhost:22').port()).toBe(lease.port)
  })

  test('an RSA key is made for old clients, and a key of one’s own is never seen private', async () => {
    const rsa = await issue({ type: 'rsa' })
    expect(rsa.privateKey).toMatch(/^-----BEGIN RSA PRIVATE KEY-----/)
    expect(await open(rsa, '0:localhost:22').port()).toBe(rsa.port)
    const key = await makeKey(folder)
    const own = await issue({ publicKey: key.publicKey })
    expect(own.privateKey).toBeUndefined()
    const device = openDevice({ slave: { host: own.host, port: own.sshPort }, key })
    expect(await device.port()).toBe(own.port)
  })

  test('the same port again after the connection was lost: that ends no lease', async () => {
    const lease = await issue()
    const first = open(lease)
    await connected(lease)
    first.signal('SIGKILL')
    await first.exited
    const second = open(lease, '0:localhost:22')
    expect(await second.port()).toBe(lease.port)
  })
})

describe('a lease opens nothing else', () => {
  test('another port, a name, another slave: refused, and ssh prints why', async () => {
    const lease = await issue()
    const why = `this key is leased for port ${lease.port} alone; open it with -R ${lease.port}:localhost:22 or -R 0:localhost:22`
    const other = lease.port + 1
    for (const forward of [`${other}:localhost:22`, '80:localhost:80', 'door:8080:localhost:80'])
      expect(await ended(open(lease, forward))).toContain(why)
    const elsewhere = slaveOf(({ id }) => id !== lease.slave)
    const text = await ended(openDevice({ slave: elsewhere, key: keyFile(lease) }))
    expect(text).toContain(`this key is a lease on slave ${lease.slave}`)
  })

  test('K076 C11: no command and no shell, whatever is asked', async () => {
    const lease = await issue()
    const ran = openDevice({
      slave: { host: lease.host, port: lease.sshPort },
      key: keyFile(lease),
      forwards: [],
      command: ['id'],
    })
    expect(await ended(ran)).not.toContain('uid=')
  })

  test('its port is nobody else’s while it lasts, and its key is no device’s', async () => {
    const lease = await issue()
    const slave = slaveOf(({ id }) => id === lease.slave)
    const key = await makeKey(folder)
    await cluster.addDevice('greedy', key)
    const device = openDevice({ slave, key, forwards: [`${lease.port}:localhost:22`] })
    expect(await ended(device)).toContain(`port ${lease.port} belongs to another device`)
    expect(await cluster.api('POST', '/devices', { id: 'thief', keys: [lease.publicKey] })).toMatchObject({
      status: 409,
      body: { code: 'KEY_TAKEN' },
    })
    expect(await ask({ macaddress: newMac(), timeout: 60_000, publicKey: key.publicKey })).toMatchObject({
      status: 409,
      body: { code: 'KEY_TAKEN' },
    })
  })
})

describe('a device and its lease', () => {
  test('side by side: the permanent tunnel and the lease tunnel, and neither cuts the other', async () => {
    const key = await makeKey(folder)
    await cluster.addDevice('both', key)
    const lease = (await ask({ device: 'both', timeout: '10m' })).body
    const slave = slaveOf(({ id }) => id === lease.slave)
    const own = openDevice({ slave, key })
    const ownPort = await own.port()
    const leased = open(lease, '0:localhost:22')
    expect(await leased.port()).toBe(lease.port)
    await eventually(async () => {
      const mine = (await cluster.tunnels()).filter(({ device }) => device === 'both')
      expect(mine.map((tunnel) => (tunnel as { lease?: string }).lease ?? 'own').sort()).toEqual(
        [lease.id, 'own'].sort(),
      )
    })
    expect(ownPort).not.toBe(lease.port)
    expect(await cluster.api('DELETE', `/leases/${lease.id}`)).toMatchObject({ body: { cut: 1 } })
    await leased.exited
    expect(own.exit).toBeUndefined()
    // And the other way round.
    const again = (await ask({ device: 'both', timeout: '10m' })).body
    const tunnel = open(again, '0:localhost:22')
    await tunnel.port()
    await cluster.api('POST', '/devices/both/kick')
    await own.exited
    expect(tunnel.exit).toBeUndefined()
  })

  test('K072 K092: a new lease replaces the old one at once: key refused, tunnel cut, port free', async () => {
    const macaddress = newMac()
    const old = (await ask({ macaddress, timeout: 60_000 })).body
    const device = open(old)
    await connected(old)
    const next = (await ask({ macaddress, timeout: 60_000 })).body
    expect(await ended(device)).toContain('a newer lease of this device replaces this one')
    expect(await ended(open(old))).toContain('a newer lease of this device replaces this one')
    expect(await cluster.api('GET', `/leases/${old.id}`)).toMatchObject({ status: 404 })
    expect(await open(next, '0:localhost:22').port()).toBe(next.port)
    // The old port can be asked for.
    const other = await ask({ macaddress: newMac(), timeout: 60_000, port: old.port })
    expect(other.body.port === old.port || old.port === next.port).toBe(true)
  })
})

describe('a lease ends', () => {
  test('K085 K089 K093 K094 K095: at its time key, tunnel and port are gone, within a second; then it is another’s', async () => {
    const lease = await issue({ timeout: 4_000 })
    const device = open(lease)
    await connected(lease)
    await device.exited
    const late = Date.now() - Date.parse(lease.expiresAt)
    expect(late).toBeGreaterThanOrEqual(-100)
    expect(late).toBeLessThan(1_000)
    expect(device.output).toContain('the time of this lease is over')
    await eventually(async () =>
      expect(await cluster.api('GET', `/leases/${lease.id}`)).toMatchObject({ status: 404 }),
    )
    expect(await ended(open(lease))).toContain('the time of this lease is over')
    // Two slaves: the port is asked for until the same slave is chosen.
    await eventually(async () => {
      const other = await issue({ port: lease.port }).catch(() => undefined)
      return other?.slave === lease.slave
    })
  })

  test('K091: the old lease’s time does not touch the newer one', async () => {
    const macaddress = newMac()
    const first = (await ask({ macaddress, timeout: 2_000 })).body
    const second = (await ask({ macaddress, timeout: 60_000 })).body
    const device = open(second)
    await connected(second)
    await eventually(() => Date.now() > Date.parse(first.expiresAt) + 1_000)
    expect(device.exit).toBeUndefined()
    expect(await cluster.api('GET', `/leases/${second.id}`)).toMatchObject({ body: { connected: true } })
  })

  test('extending moves the end, also of a tunnel that is up', async () => {
    const lease = await issue({ timeout: 3_000 })
    const device = open(lease)
    await connected(lease)
    const { body } = await cluster.api<Lease>('PATCH', `/leases/${lease.id}`, { timeout: '1m' })
    expect(body.remainingMs).toBeGreaterThan(55_000)
    await eventually(() => Date.now() > Date.parse(lease.expiresAt) + 1_000)
    expect(device.exit).toBeUndefined()
    expect(await cluster.api('DELETE', `/leases/${lease.id}`)).toMatchObject({
      status: 200,
      body: { cut: 1 },
    })
    expect(await ended(device)).toContain('this lease was revoked')
    expect(await ended(open(lease))).toContain('this lease was revoked')
  })

  test('removing the device ends its lease', async () => {
    const lease = await issue()
    const device = open(lease)
    await connected(lease)
    await cluster.api('DELETE', `/devices/${lease.device}`)
    expect(await ended(device)).toContain('this lease was revoked')
  })
})

describe('ports', () => {
  test('K044 K047: a port that another process holds is passed over; one that is lost later is said, and a new one is had', async () => {
    const lease = await issue()
    const events = await cluster.events()
    await occupy(lease.port)
    expect(await ended(open(lease))).toContain(`port ${lease.port} cannot be opened`)
    await events.next('lease.port-lost', { lease: lease.id })
    expect(await cluster.api('GET', `/leases/${lease.id}`)).toMatchObject({ body: { state: 'port-lost' } })
    const next = (await ask({ macaddress: lease.device, timeout: 60_000 })).body
    expect(next.slave === lease.slave && next.port === lease.port).toBe(false)
    expect(await open(next, '0:localhost:22').port()).toBe(next.port)
  })
})

test('K007 K003: without a token 401; an integrator may, an operator may not', async () => {
  const { url } = cluster.master
  const body = { macaddress: newMac(), timeout: 60_000 }
  expect(await callApi({ url }, 'POST', '/leases', body)).toMatchObject({ status: 401 })
  const token = async (role: string): Promise<string> =>
    (await cluster.api<{ token: string }>('POST', '/tokens', { role })).body.token
  expect(await callApi({ url, token: await token('integrator') }, 'POST', '/leases', body)).toMatchObject({
    status: 201,
  })
  expect(await callApi({ url, token: await token('operator') }, 'POST', '/leases', body)).toMatchObject({
    status: 403,
  })
})

test('K010 K011 K102: the older call, with curl as its clients used it, opens a tunnel with an RSA key', async () => {
  const { url, adminToken } = cluster.master
  const curl = await run('curl', [
    '-sS',
    '-H',
    `Authorization: Bearer ${adminToken}`,
    '-d',
    'macaddress=02:00:00:0A:0B:0C',
    '-d',
    'timeout=1800000',
    `${url}/api/sshKeyGen`,
  ])
  const { key, port } = JSON.parse(curl.stdout) as { key: string; port: number }
  const { body } = await cluster.api<{ leases: Lease[] }>('GET', '/leases?device=0200000a0b0c')
  const [lease] = body.leases
  if (!lease) throw new Error('no lease')
  expect(lease.port).toBe(port)
  const device = open({ ...lease, privateKey: key }, '0:localhost:22')
  expect(await device.port()).toBe(port)
})

test('the command line leases, lists, extends and revokes; metrics and events tell of it', async () => {
  const at = makeFolder()
  const env = { SSHOAL_URL: cluster.master.url, SSHOAL_TOKEN: cluster.master.adminToken }
  const sshoal = async (...args: string[]): Promise<string> => {
    const ran = await runSshoal(['lease', ...args], { cwd: at, env })
    expect(ran).toMatchObject({ status: 0 })
    return ran.stdout
  }
  const events = await cluster.events()
  const file = join(at, 'lease-key')
  const made = JSON.parse(
    await sshoal('create', '02:00:00:0D:0D:0D', '--for', '30m', '--save', file, '--json'),
  ) as Lease
  await events.next('lease.issued', { lease: made.id, device: '0200000d0d0d', port: made.port })
  // What it prints is what the device runs.
  const words = made.command
    .replace('lease-known-hosts', `${file}.known_hosts`)
    .replace('-i lease-key', `-i ${file}`)
    .split(' ')
  const device = start(words[0] ?? '', ['-F', 'none', ...words.slice(1)])
  await connected(made)
  expect(await sshoal('ls')).toMatch(new RegExp(`${made.id} +0200000d0d0d .* connected +(30:00|29:[0-9]{2})`))
  expect(await sshoal('extend', made.id, '--for', '2h')).toMatch(/lasts (2:00:00|1:59:5\d) from now/)
  await events.next('lease.extended', { lease: made.id })
  expect(await sshoal('show', made.id)).toContain('0200000d0d0d')
  const metrics = async (): Promise<string> => (await cluster.api<string>('GET', '/metrics')).body
  expect(await metrics()).toMatch(/^sshoal_leases [1-9]/m)
  expect(await sshoal('revoke', made.id, '--yes')).toContain('its tunnel cut')
  await device.exited
  await events.next('lease.revoked', { lease: made.id })
  await ask({ macaddress: 'nobody', timeout: 1_000 })
  const after = await metrics()
  for (const change of ['issued', 'extended', 'revoked', 'expired', 'replaced'])
    expect(after).toMatch(new RegExp(`^sshoal_lease_changes_total\\{change="${change}"\\} [1-9]`, 'm'))
  expect(after).toMatch(/^sshoal_lease_refusals_total\{code="INVALID_MAC"\} [1-9]/m)
})
