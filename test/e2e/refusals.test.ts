// Refusals as people read them: what OpenSSH and dropbear print for each. A text in DISCONNECT reaches OpenSSH alone;
// dropbear shows banners and nothing else, and ends with 0, so what it is not told is in the event and on the record.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'

import {
  eventually,
  makeDropbearKey,
  makeFolder,
  makeKey,
  openDevice,
  startCluster,
  type Cluster,
  type Device,
  type DeviceOptions,
  type Events,
  type Key,
  type Slave,
} from '../kit/index.ts'

// What a hook can say: a known device, nobody, or that it is out.
const HOOK = `export async function validate_device(publicKey, { username }) {
  if (username === 'outage') throw new Error('the database is away')
  return username === 'stranger' ? undefined : { client_key: username }
}
`

let cluster: Cluster
let slave: Slave
let small: Slave
let events: Events
/** The port of another device. */
let taken: number
let sources = 0
const keys: Record<'openssh' | 'dropbear', Key> = {} as never

/** From an address of its own, because refusals of one source and reason fold to one event a minute. */
function connectFrom(device: DeviceOptions) {
  const options = ['-b', `127.0.1.${++sources}`, ...(device.options ?? [])]
  return openDevice({ ...device, options })
}

beforeAll(async () => {
  const hook = join(makeFolder(), 'hook.mjs')
  writeFileSync(hook, HOOK)
  cluster = await startCluster({
    slaves: 2,
    hook,
    masterFlags: ['--cache-ttl', '0'],
    slaveFlags: (n) => (n === 1 ? ['--capacity', '1'] : []),
  })
  ;[slave, small] = cluster.slaves as [Slave, Slave]
  const folder = makeFolder()
  keys.openssh = await makeKey(folder)
  keys.dropbear = await makeDropbearKey(folder)
  events = await cluster.events()
  taken = await openDevice({ slave, key: keys.openssh, username: 'owner' }).port()
})

/** All that dbclient makes of a DISCONNECT, whatever it says, and it ends with 0. */
const DROPBEAR_ENDED = /dbclient: Connection to \S+ exited: Disconnect received/
/** What it shows of a refused forward, which it hears before the connection ends; with ExitOnForwardFailure it ends with 1. */
const DROPBEAR_REFUSED = /Remote TCP forward request failed \(port \d+ -> /

function expectEnded(device: Device, client: 'openssh' | 'dropbear', reason: string): void {
  if (client === 'openssh') expect(device.output).toContain(`sshoal: ${reason}`)
  else expect(device.output).toMatch(DROPBEAR_ENDED)
  expect(device.exit?.status).toBe(client === 'openssh' ? 255 : 0)
}

function expectRefused(device: Device, client: 'openssh' | 'dropbear', reason: string): void {
  if (client === 'openssh') return expectEnded(device, client, reason)
  expect(device.output).toMatch(DROPBEAR_REFUSED)
  expect(device.exit?.status).toBe(1)
}

describe.each(['openssh', 'dropbear'] as const)('%s', (client) => {
  const connect = (username: string, more: Partial<DeviceOptions> = {}) =>
    connectFrom({ slave, key: keys[client], client, username, ...more })

  test('shows the owner of an unknown key its fingerprint', async () => {
    const device = connect('stranger')
    await device.exited
    expect(device.output).toContain(`sshoal: the key ${keys[client].fingerprint} is not known here`)
    expect(device.exit?.status).not.toBe(0)
    await events.next('device.refused', { code: 'KEY_UNKNOWN' })
  })

  test('shows that nobody can check the key right now', async () => {
    const device = connect('outage')
    await device.exited
    expect(device.output).toContain('sshoal: your key cannot be checked right now; try again later')
    expect(device.exit?.status).not.toBe(0)
    await events.next('hook.failed')
  })

  test('of a forward where none stands: OpenSSH shows why, dropbear that it failed; event and record say it for both', async () => {
    const name = `thief-${client}`
    await cluster.api('POST', '/devices', { id: name })
    const device = connect(name, { forwards: [`${taken}:localhost:22`] })
    await device.exited
    const reason = `port ${taken} is in use`
    expectRefused(device, client, reason)
    await events.next('device.refused', { device: name, code: 'PORT_IN_USE', reason })
    await eventually(async () =>
      expect((await cluster.api('GET', `/devices/${name}`)).body).toMatchObject({
        lastSeen: { why: `refused: ${reason}` },
      }),
    )
  })

  test('of a port that is kept for another device', async () => {
    const port = slave.forwardPorts.last - (client === 'openssh' ? 0 : 1)
    const kept = { id: `keeper-${client}`, ports: [port] }
    expect((await cluster.api('POST', '/devices', kept)).status).toBe(201)
    const name = `squatter-${client}`
    const device = connect(name, { forwards: [`${port}:localhost:22`] })
    await device.exited
    const { data } = await events.next('device.refused', { device: name, code: 'PORT_RESERVED' })
    expect(data.reason).toBe(`port ${port} belongs to another device`)
    expectRefused(device, client, String(data.reason))
  })

  test('of a full slave: asks for another', async () => {
    const first = connect('first', { slave: small })
    await first.port()
    const name = `second-${client}`
    const second = connect(name, { slave: small })
    await second.exited
    expectRefused(second, client, 'this slave is full; ask the master for another')
    await events.next('device.refused', { device: name, code: 'SLAVE_FULL' })
    await first.stop()
    await eventually(async () => expect(await cluster.tunnels()).toHaveLength(1))
  })

  test('of a visit by a device: the channel says why', async () => {
    const name = `visitor-${client}`
    const options = client === 'openssh' ? ['-W', 'localhost:22'] : ['-B', 'localhost:22']
    const command = client === 'openssh' ? [] : undefined
    const device = connect(name, { forwards: [], options, ...(command ? { command } : {}) })
    await events.next('device.refused', { device: name, code: 'NOT_A_USER' })
    if (client === 'openssh') {
      await device.exited
      expect(device.output).toMatch(
        /administratively prohibited: sshoal: this key may hold a tunnel, not open connections/,
      )
    } else expect(device.output).not.toContain('sshoal')
    await device.stop()
  })

  test('of a connection that a newer one took over', async () => {
    const older = connect(`twice-${client}`)
    await older.port()
    const newer = connect(`twice-${client}`)
    await newer.port()
    await older.exited
    expectEnded(older, client, `a newer connection of twice-${client} from 127.0.1.${sources} took over`)
    await newer.stop()
  })
})

test('a refused forward beside one that stands is answered alone: what stands goes on', async () => {
  const forwards = ['0:localhost:22', `${taken}:localhost:22`]
  const options = ['-o', 'ExitOnForwardFailure=no']
  const device = connectFrom({ slave, key: keys.openssh, username: 'two', forwards, options })
  await device.port()
  await device.waitForOutput(new RegExp(`remote port forwarding failed for listen port ${taken}`))
  await events.next('device.refused', { device: 'two', code: 'PORT_IN_USE' })
  expect(device.exit).toBeUndefined()
  await device.stop()
})

test('a client that tries too many keys is told so', async () => {
  const folder = makeFolder()
  const more = await Promise.all(Array.from({ length: 6 }, () => makeKey(folder)))
  const options = more.flatMap(({ path }) => ['-i', path])
  const device = openDevice({ slave, key: keys.openssh, username: 'stranger', options })
  await device.exited
  expect(device.output).toContain('Too many authentication failures')
})

test('a slave that is being drained sends newcomers to the master', async () => {
  expect(
    (await cluster.api('POST', `/cluster/slaves/${small.id}/drain`, { seconds: 1 })).status,
  ).toBeLessThan(300)
  await eventually(async () => {
    expect((await cluster.cluster()).slaves.find(({ id }) => id === small.id)?.state).toBe('draining')
  })
  for (const client of ['openssh', 'dropbear'] as const) {
    const device = connectFrom({ slave: small, key: keys[client], client, username: `late-${client}` })
    await device.exited
    expectRefused(device, client, 'this slave is being drained; ask the master for another')
    await events.next('device.refused', { device: `late-${client}`, code: 'DRAINING' })
  }
})
