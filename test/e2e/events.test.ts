// Events as a program reads them: resumed where it left off, told of what it missed, with a reason for every refusal.

import { readFileSync } from 'node:fs'
import { connect } from 'node:net'

import { utils, type ParsedKey } from 'ssh2'
import { beforeAll, describe, expect, test } from 'vitest'

import {
  connectClient,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  runSshoal,
  startCluster,
  type Cluster,
  type Slave,
} from '../kit/index.ts'

let cluster: Cluster
let slave: Slave
let folder: string

const KEPT = 100

beforeAll(async () => {
  folder = makeFolder()
  cluster = await startCluster({
    masterFlags: ['--events-keep', String(KEPT)],
    slaveFlags: [
      '--penalty',
      '0',
      '--login-grace-time',
      '2s',
      '--idle-grace-time',
      '2s',
      '--max-forwards',
      '2',
    ],
  })
  const [only] = cluster.slaves
  if (only === undefined) throw new Error('no slave')
  slave = only
})

// Refusals fold per source, so every test speaks from an address of its own.
let sources = 1
const newSource = (): string => `127.0.8.${sources++}`

async function newKey(id: string) {
  const key = await makeKey(folder)
  await cluster.addDevice(id, key)
  return key
}

describe('a reader', () => {
  test('sees the life of a tunnel, with its epoch', async () => {
    const key = await newKey('barn')
    const events = await cluster.events()
    const device = openDevice({ slave, key })
    await device.port()
    const up = await events.next('tunnel.up', { device: 'barn', slave: 'slave-1' })
    await device.stop()
    const down = await events.next('tunnel.down', { device: 'barn', slave: 'slave-1' })
    expect(up.data.epoch).toBeGreaterThan(0)
    expect(down.data.epoch).toBe(up.data.epoch)
    expect(down.data.reason).toEqual(expect.any(String))
    expect(Number(down.id)).toBeGreaterThan(Number(up.id))
  })

  test('that comes back with its last id misses nothing and sees nothing twice', async () => {
    const [first, second, third] = [await newKey('e1'), await newKey('e2'), await newKey('e3')]
    const events = await cluster.events()
    const one = openDevice({ slave, key: first })
    await one.port()
    const { id } = await events.next('tunnel.up', { device: 'e1' })
    events.close()
    const two = openDevice({ slave, key: second })
    await two.port()
    await eventually(async () => (await cluster.tunnels()).some(({ device }) => device === 'e2'))
    const again = await cluster.events(id)
    const three = openDevice({ slave, key: third })
    await three.port()
    await again.next('tunnel.up', { device: 'e3' })
    const ups = again.list.filter(({ type }) => type === 'tunnel.up').map(({ data }) => data.device)
    expect(ups).toEqual(['e2', 'e3'])
    expect(again.list.some(({ type }) => type === 'events.gap')).toBe(false)
    // The command does the same, one JSON a line.
    const env = { SSHOAL_URL: cluster.master.url, SSHOAL_TOKEN: cluster.master.adminToken }
    const { stdout } = await runSshoal(['events', '--json'], { env, cwd: folder })
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string })
    expect(lines.map(({ type }) => type)).toContain('tunnel.up')
    for (const device of [one, two, three]) await device.stop()
  })

  test.each(['1', '12345678901234567', 'not an id'])(
    'whose last id is gone (%s) is told of the gap first, and then reads what is left',
    async (id) => {
      const events = await cluster.events(id)
      await events.next('slave.ready', { slave: 'slave-1' })
      expect(events.list[0]?.type).toBe('events.gap')
    },
  )

  test('that was away for more events than are kept is told of the gap too', async () => {
    const key = await newKey('busy')
    const events = await cluster.events()
    const client = await connectClient({ slave, key })
    const toggle = () =>
      new Promise<void>((resolve, reject) => {
        client.forwardIn('localhost', 0, (error, port) => {
          if (error) reject(error)
          else client.unforwardIn('localhost', port, () => resolve())
        })
      })
    await toggle()
    const { id } = await events.next('tunnel.down', { device: 'busy' })
    for (let round = 0; round <= KEPT / 2; round++) await toggle()
    const count = () => events.list.filter(({ data }) => data.device === 'busy').length
    await eventually(() => count() >= KEPT + 4)
    const again = await cluster.events(id)
    await again.next('events.gap')
    expect(again.list[0]?.type).toBe('events.gap')
    expect(again.list.length).toBeLessThanOrEqual(KEPT + 1)
  })
})

describe('an event with its reason comes for', () => {
  interface Case {
    /** Does what is refused, from this source; `device` is in the registry. */
    act: (source: string, device: string) => Promise<unknown>
    code: string
    reason: RegExp
    type?: string
    /** The event names the device. */
    named?: boolean
  }

  const ssh = async (source: string, id: string, forwards: string[], options: string[] = []) => {
    const device = openDevice({ slave, key: await newKey(id), forwards, options: ['-b', source, ...options] })
    expect((await device.exited).status).toBe(255)
  }

  const raw = (source: string, bytes: string | Buffer) =>
    new Promise<void>((resolve) => {
      const socket = connect({ ...slave, localAddress: source }, () => socket.write(bytes))
      socket
        .on('error', () => {})
        .on('close', () => resolve())
        .resume()
    })

  const cases: Record<string, Case> = {
    'a key that nobody knows': {
      act: async (source) =>
        openDevice({ slave, key: await makeKey(folder), options: ['-b', source] }).exited,
      code: 'KEY_UNKNOWN',
      reason: /^the key SHA256:\S+ is not known here$/,
    },
    'one forward too many': {
      act: (source, id) => ssh(source, id, ['0:localhost:1', '0:localhost:2', '0:localhost:3']),
      code: 'TOO_MANY_FORWARDS',
      reason: /^at most 2 forwards per tunnel$/,
      named: true,
    },
    'a name that is none': {
      act: (source, id) => ssh(source, id, ['no_name:80:localhost:1']),
      code: 'NAME_INVALID',
      reason: /1 to 63/,
      named: true,
    },
    'the same name and port twice': {
      act: (source, id) => ssh(source, id, ['web:80:localhost:1', 'web:80:localhost:2']),
      code: 'FORWARD_TAKEN',
      reason: /^the forward web:80 stands already$/,
      named: true,
    },
    'a port of somebody else': {
      act: async (source, id) => {
        const port = slave.forwardPorts.last
        await cluster.api('POST', '/devices', { id: 'owner', ports: [port] })
        await ssh(source, id, [`${port}:localhost:1`])
      },
      code: 'PORT_RESERVED',
      reason: /^port \d+ belongs to another device$/,
      named: true,
    },
    'a connection through the slave': {
      act: (source, id) => ssh(source, id, [], ['-W', 'localhost:22']).catch(() => {}),
      code: 'NOT_A_USER',
      reason: /not open connections through this slave/,
      named: true,
    },
    'a login without a forward': {
      act: (source, id) => ssh(source, id, []),
      code: 'IDLE_TIMEOUT',
      reason: /^no forward and no session for 2 s/,
      named: true,
    },
    'a client that never logs in': {
      act: (source) => raw(source, 'SSH-2.0-patience\r\n'),
      code: 'LOGIN_TIMEOUT',
      reason: /login grace time/,
    },
    'a client with which there is nothing in common': {
      act: (source, id) => ssh(source, id, [], ['-o', 'KexAlgorithms=diffie-hellman-group14-sha1']),
      code: 'NEGOTIATION_FAILED',
      reason: /no common .*diffie-hellman-group14-sha1/,
      type: 'connection.negotiation-failed',
    },
  }

  test.each(Object.entries(cases))('%s', async (name, { act, code, reason, type, named }) => {
    const [source, device] = [newSource(), name.replaceAll(' ', '-')]
    const events = await cluster.events()
    await act(source, device)
    const event = await events.next(type ?? 'device.refused', { code, remoteAddress: source })
    expect(event.data.reason).toMatch(reason)
    if (named !== true) return
    expect(event.data.device).toBe(device)
    // The record of the device says it too.
    await eventually(async () => {
      const { body } = await cluster.api<{ lastSeen: { why: string } | null }>('GET', `/devices/${device}`)
      expect(body.lastSeen).not.toBeNull()
    })
  })

  test('a signature of another key', async () => {
    const [known, other] = [await newKey('signed'), await makeKey(folder)]
    const source = newSource()
    const events = await cluster.events()
    const mine = utils.parseKey(readFileSync(other.path))
    if (mine instanceof Error) throw mine
    // The public half is that of a device, the private one is not.
    const stolen: ParsedKey = Object.assign(Object.create(mine) as ParsedKey, {
      getPublicSSH: () => Buffer.from(known.wire, 'base64'),
    })
    const failing = connectClient({
      slave,
      key: other,
      config: {
        localAddress: source,
        authHandler: [{ type: 'publickey', username: 'device', key: stolen }] as never,
      },
    })
    await expect(failing).rejects.toThrow()
    const event = await events.next('device.refused', { code: 'BAD_SIGNATURE', remoteAddress: source })
    expect(event.data.reason).toMatch(/^the signature is not of the key/)
  })
})

test('the same refusal from one source is one event a minute, with a count', async () => {
  const key = await makeKey(folder)
  const source = newSource()
  const events = await cluster.events()
  for (let round = 0; round < 5; round++) await openDevice({ slave, key, options: ['-b', source] }).exited
  await events.next('device.refused', { code: 'KEY_UNKNOWN', remoteAddress: source, count: 1 })
  const other = newSource()
  await openDevice({ slave, key, options: ['-b', other] }).exited
  // Events are in order: by now the other four would have come.
  await events.next('device.refused', { remoteAddress: other })
  expect(events.list.filter(({ data }) => data.remoteAddress === source)).toHaveLength(1)
})
