import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { Server, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { fingerprintOf, loadConfig, type WhoAnswer } from '@sshoal/shared'
import ssh2 from 'ssh2'
import { afterEach, describe, expect, test, vi } from 'vitest'

import { slaveOptions } from '../src/options.ts'
import { generateHostKey } from '../src/ssh2/index.ts'
import { startSlave, type Slave } from '../src/start-slave.ts'
import { log, startScriptedMaster, until, type MasterEnd, type ScriptedMaster } from './fixture.ts'
import { tap } from './ssh2/fixture.ts'

const key = generateHostKey('ed25519')
const folder = mkdtempSync(join(tmpdir(), 'sshoal-slave-'))
const holder = { project: 'default', device: 'a' }
const known = (device: string): WhoAnswer => ({
  outcome: 'known',
  identity: { device: { ...holder, device } },
  cacheMs: 60_000,
  staleMs: 60_000,
  addressBound: false,
})

let master: ScriptedMaster
let slave: Slave | undefined
const clients: ssh2.Client[] = []
/** Undefined: each user is the device of that name. */
let answer: WhoAnswer | undefined
let asked: string[]
afterEach(async () => {
  for (const client of clients.splice(0)) client.end()
  await slave?.close({ drainMs: 0 })
  await master.close()
  rmSync(folder, { recursive: true, force: true })
})

async function start(): Promise<MasterEnd> {
  answer = undefined
  asked = []
  master = await startScriptedMaster({
    who: ({ publicKey, username }) => {
      asked.push(fingerprintOf(Buffer.from(publicKey, 'base64')))
      return answer ?? known(username)
    },
  })
  const settings = loadConfig(slaveOptions, {
    flags: { master: [master.url], sshListen: ['127.0.0.1:0'], data: [folder], id: ['s1'] },
    env: {},
  })
  slave = await startSlave(settings, { log })
  await slave.linked
  return master.links[0]!
}

/** A device whose tunnel of epoch 42 is up. */
async function device(name = 'a'): Promise<ssh2.Client> {
  const client = new ssh2.Client()
  clients.push(client)
  client.on('error', () => {})
  client.connect({ host: '127.0.0.1', port: slave?.sshPorts[0], username: name, privateKey: key })
  await once(client, 'ready')
  await new Promise<void>((resolve, reject) =>
    client.forwardIn('web', 8_080, (error) => (error ? reject(error) : resolve())),
  )
  return client
}

const told = (end: MasterEnd, type: string): unknown[] =>
  end.said.filter(([said]) => said === type).map(([, body]) => body)

test('T085: a listening socket that fails by itself ends its tunnel; the device reads why and the master is told', async () => {
  const end = await start()
  // No such failure can be had from outside: what the kernel refuses to accept, libuv tries again.
  const listen = vi.spyOn(Server.prototype, 'listen')
  const client = await device()
  let text = ''
  tap(client, (payload) => {
    if (payload[0] === 1) text = payload.toString('utf8', 9, 9 + payload.readUInt32BE(5))
  })
  const port = await new Promise<number>((resolve, reject) =>
    client.forwardIn('', 0, (error, given) => (error ? reject(error) : resolve(given))),
  )
  const gone = once(client, 'close')
  const servers = listen.mock.contexts as Server[]
  const failing = servers.find((server) => (server.address() as AddressInfo).port === port)
  failing?.emit('error', new Error('accept ENFILE'))
  await gone
  const reason = `the listening socket of port ${port} failed: accept ENFILE`
  expect(text).toBe(`sshoal: ${reason}`)
  await until(() => told(end, 'tunnel.down').length === 1)
  expect(told(end, 'tunnel.down')).toMatchObject([{ ...holder, epoch: 42, reason }])
  expect(failing?.listening).toBe(false)
  listen.mockRestore()
})

describe('what the master may ask of a slave', () => {
  test('T095: a tunnel is told when it comes up and when its device leaves', async () => {
    const end = await start()
    const ssh = await device()
    await until(() => told(end, 'tunnel.up').length === 1)
    expect(told(end, 'tunnel.up')).toMatchObject([
      { ...holder, epoch: 42, forwards: [{ kind: 'named', port: 8_080 }] },
    ])
    ssh.end()
    await until(() => told(end, 'tunnel.down').length === 1)
    expect(told(end, 'tunnel.down')).toMatchObject([{ ...holder, epoch: 42 }])
  })

  test('T099: a cut ends the tunnel it means, never a newer one', async () => {
    const end = await start()
    const ssh = await device()
    await expect(end.wire.request('cut', { ...holder, epoch: 41, reason: 'r' })).resolves.toEqual({
      cut: false,
    })
    await expect(end.wire.request('cut', { ...holder, device: 'nobody', reason: 'r' })).resolves.toEqual({
      cut: false,
    })
    const closed = once(ssh, 'close')
    await expect(end.wire.request('cut', { ...holder, epoch: 42, reason: 'r' })).resolves.toEqual({
      cut: true,
    })
    await closed
  })

  test('a tunnel yields to a newer one, and to the winner of two with one epoch; never to an older one', async () => {
    const end = await start()
    const ssh = await device()
    const yields = (epoch: number) => end.wire.request('yield', { ...holder, epoch, reason: 'r' })
    await expect(yields(41)).resolves.toEqual({ cut: false, contested: false })
    const closed = once(ssh, 'close')
    await expect(yields(42)).resolves.toEqual({ cut: true, contested: true })
    await closed
  })

  test('an invalidation makes the slave ask again, and cuts what is now refused', async () => {
    const end = await start()
    const ssh = await device()
    const [fingerprint = ''] = asked
    expect(asked).toHaveLength(1)
    const invalidate = (number: number, fingerprints: string[] | null) =>
      end.wire.request('invalidate', { number, fingerprints })
    await expect(invalidate(2, ['SHA256:other'])).resolves.toEqual({ cut: 0 })
    expect(asked).toHaveLength(1)
    await expect(invalidate(3, [fingerprint])).resolves.toEqual({ cut: 0 })
    expect(asked).toHaveLength(2)
    answer = { outcome: 'refused', code: 'KEY_UNKNOWN', reason: 'gone' }
    const closed = once(ssh, 'close')
    // Number 4 was missed: what it was about is not known, so all keys are asked about.
    await expect(invalidate(5, ['SHA256:other'])).resolves.toEqual({ cut: 1 })
    await closed
  })

  test('after missed invalidations the welcome makes the slave ask about everybody', async () => {
    const end = await start()
    const ssh = await device()
    answer = { outcome: 'refused', code: 'KEY_UNKNOWN', reason: 'gone' }
    const closed = once(ssh, 'close')
    end.welcome({ invalidation: { store: 'store-1', number: 9 } })
    await closed
    expect(asked).toHaveLength(2)
  })

  test('another store is no removal: what is cached is forgotten, and only whom it names is asked about', async () => {
    const end = await start()
    const ssh = await device()
    const [fingerprint = ''] = asked
    answer = { outcome: 'refused', code: 'KEY_UNKNOWN', reason: 'gone' }
    let isOpen = true
    const closed = once(ssh, 'close').then(() => (isOpen = false))
    end.welcome({ invalidation: { store: 'store-2', number: 0 } })
    const invalidate = (number: number, fingerprints: string[], store: string) =>
      end.wire.request('invalidate', { number, store, fingerprints })
    await expect(invalidate(1, ['SHA256:other'], 'store-2')).resolves.toEqual({ cut: 0 })
    await expect(invalidate(7, ['SHA256:other'], 'store-3')).resolves.toEqual({ cut: 0 })
    expect(asked).toHaveLength(1)
    expect(isOpen).toBe(true)
    await expect(invalidate(8, [fingerprint], 'store-3')).resolves.toEqual({ cut: 1 })
    await closed
    expect(asked).toHaveLength(2)
  })

  test('the welcome cuts tunnels that lost meanwhile, and not newer ones', async () => {
    const end = await start()
    const ssh = await device()
    let isOpen = true
    const closed = once(ssh, 'close').then(() => (isOpen = false))
    end.welcome({ lost: [{ ...holder, epoch: 41, reason: 'older' }] })
    await end.wire.request('probe', holder)
    expect(isOpen).toBe(true)
    end.welcome({ lost: [{ ...holder, epoch: 42, reason: 'lost' }] })
    await closed
  })

  test('a probe says whether the device answers', async () => {
    const end = await start()
    await device()
    await expect(end.wire.request('probe', holder)).resolves.toEqual({ alive: true })
    await expect(end.wire.request('probe', { ...holder, device: 'nobody' })).resolves.toEqual({
      alive: false,
    })
  })
})

describe('stopping', () => {
  test('a slave drains, says good-bye and is gone; a drain that is asked meanwhile does not hold it up', async () => {
    const end = await start()
    // The first leaves at once, the second in the middle of the time.
    const closed = [await device('a'), await device('b')].map((ssh) => once(ssh, 'close'))
    const stopping = slave?.close({ drainMs: 400 })
    await expect(end.wire.request('drain', { overMs: 3_600_000 })).resolves.toEqual({ tunnels: 1 })
    await Promise.all([stopping, ...closed])
    await until(() => told(end, 'bye').length === 1)
    expect(told(end, 'draining')).toEqual([{ draining: true }])
    expect(told(end, 'tunnel.down')).toMatchObject([{ device: 'a' }, { device: 'b' }])
  })

  test('closing twice is once', async () => {
    await start()
    expect(slave?.close()).toBe(slave?.close())
  })
})
