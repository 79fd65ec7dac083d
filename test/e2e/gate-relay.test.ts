// Where the device is makes no difference: it moves, slaves die, people share it, and a stalled visit stalls itself alone.

import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'

import { connectSsh, hostKeyPublic, type SshClient } from '../../packages/slave/src/ssh2/index.ts'
import { startGateWorld, type GateWorld, type HeldDevice, type Person } from '../kit/gate.ts'
import {
  callApi,
  eventually,
  makeFolder,
  makeKey,
  openVisit,
  run,
  startEcho,
  startSilent,
  takePorts,
  visit,
  type Service,
} from '../kit/index.ts'
import { of } from '../kit/masters.ts'

let world: GateWorld
let ann: Person
let bob: Person
let echo: Service
/** Of both slaves, each on an address of its own under one name. */
let gatePort: number
let relayPort: number
/** Starts on the second slave. */
let mover: HeldDevice

beforeAll(async () => {
  const ports = await takePorts(3)
  gatePort = ports.first
  relayPort = ports.first + 1
  world = await startGateWorld({
    masterFlags: ['--gate-host', `gate.test:${gatePort}`],
    slaveFlags: (n) => [
      '--ssh-listen',
      `127.0.0.1:0,127.0.0.${n + 2}:${gatePort}`,
      '--relay-listen',
      `127.0.0.1:${relayPort + n}`,
    ],
  })
  ann = await world.person('ann')
  bob = await world.person('bob')
  echo = await startEcho()
  mover = await world.device('mover', 1, { forwards: [onEcho()] })
  await grantBoth('mover')
})

const onEcho = (): string => `0:${echo.host}:${echo.port}`

async function grantBoth(target: string): Promise<void> {
  for (const { login } of [ann, bob]) await world.grant(login, { target, forwards: ['*'] })
}

/** Sends, and reads as much back. */
async function talk(address: { host: string; port: number }, text: string): Promise<string> {
  const visit = await openVisit(address)
  visit.send(text)
  await eventually(() => visit.received.length >= text.length, {
    message: `${text} comes back`,
    hopeless: () => visit.closed || visit.ended,
  })
  visit.close()
  return visit.received.toString()
}

async function metric(n: number, name: string): Promise<number> {
  const { body } = await callApi<string>({ url: of(world.all.slaves, n).statusUrl }, 'GET', '/metrics')
  const lines = body.split('\n').filter((line) => line.startsWith(name) && !line.startsWith('#'))
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

/** As another slave logs in at a relay. */
async function openRelay(options: { port: number; privateKey: string; hostKey: Buffer }): Promise<SshClient> {
  const socket = connect(options.port, '127.0.0.1')
  await once(socket, 'connect')
  const { privateKey, hostKey } = options
  return new Promise((resolve, reject) => {
    const facts = { privateKey, username: 's1', hostKeys: [hostKey], software: 'captured' }
    const client = connectSsh(socket, facts, {
      onReady: () => resolve(client),
      onClose: (error) => reject(new Error(error?.message ?? 'closed')),
    })
  })
}

describe('whichever slave the device is on', () => {
  test('a device on the other slave is reached by a relay, and after it moved directly, and back', async () => {
    const { address } = await ann.open('mover')
    expect(await talk(address, 'relayed')).toBe('relayed')
    await mover.moveTo(0, 'taken over')
    expect(await talk(address, 'direct')).toBe('direct')
    await mover.moveTo(1, 'taken over')
    expect(await talk(address, 'relayed again')).toBe('relayed again')
  })

  test('whoever comes while it moves is through, or is told that it is offline; never anything else', async () => {
    const { address, ssh } = await ann.open('mover')
    let arrived = 0
    let moving = true
    const knock = async (): Promise<void> => {
      while (moving) {
        const visit = await openVisit(address)
        visit.send('hello')
        await eventually(() => visit.received.length === 5 || visit.closed || visit.ended)
        if (visit.received.length === 5) arrived++
        visit.close()
      }
    }
    const knocking = Promise.all([knock(), knock()])
    try {
      for (const to of [0, 1, 0]) await mover.moveTo(to)
      await mover.moveTo(1, 'taken over')
    } finally {
      moving = false
      await knocking
    }
    expect(arrived).toBeGreaterThan(0)
    const said = [...ssh.stderr.matchAll(/open failed: (.*)/g)].map(([, text]) => text)
    for (const text of said) expect(text).toMatch(/offline|not connected|closed/)
    expect(await talk(address, 'after')).toBe('after')
  })

  test('many visits between two slaves share one connection', async () => {
    const { address } = await ann.open('mover')
    const visits = await Promise.all(Array.from({ length: 20 }, () => openVisit(address)))
    for (const visit of visits) visit.send('x')
    await Promise.all(visits.map((visit) => visit.receive(1)))
    expect(await metric(0, 'sshoal_relay_connections{direction="out"}')).toBe(1)
    for (const visit of visits) visit.close()
  })
})

describe('one device, many people', () => {
  test('two people on one device do not disturb each other, and half-close is passed on', async () => {
    const whole = await startEcho({ whole: true })
    await world.device('shared', 1, { forwards: [`0:${whole.host}:${whole.port}`] })
    await grantBoth('shared')
    const sent = [Buffer.alloc(3_000_000, 'ann'), Buffer.alloc(3_000_000, 'bob')]
    const opened = await Promise.all([ann.open('shared', 22, 0), bob.open('shared', 22, 1)])
    const got = await Promise.all(opened.map(({ address }, n) => visit(address, of(sent, n))))
    for (const [n, bytes] of got.entries()) expect(bytes.equals(of(sent, n)), `person ${n}`).toBe(true)
  })

  test('a visit whose device does not read, and one whose person does not, stall only themselves', async () => {
    const silent = await startSilent()
    const forwards = [onEcho(), `silent:80:${silent.host}:${silent.port}`]
    await world.device('stalled', 1, { forwards })
    await grantBoth('stalled')
    const [toSilent, toEcho, bobs] = await Promise.all([
      ann.open('silent.stalled', 80),
      ann.open('stalled'),
      bob.open('stalled'),
    ])
    const deaf = await openVisit(toSilent.address)
    const mute = await openVisit(toEcho.address)
    mute.socket.pause()
    const much = Buffer.alloc(30_000_000)
    for (const visit of [deaf, mute]) visit.send(much)
    await eventually(() => deaf.socket.writableLength > 0 && mute.socket.writableLength > 0)
    expect(await talk(toEcho.address, 'hers')).toBe('hers')
    expect(await talk(bobs.address, 'his')).toBe('his')
    expect(deaf.closed || mute.closed).toBe(false)
    deaf.close()
    mute.close()
  })
})

describe('the relay', () => {
  test('a slave that asks for what it made up gets none of it: the carrier asks the master itself', async () => {
    const [from, to] = [of(world.all.slaves, 0), of(world.all.slaves, 1)]
    await world.device('guarded', 1, { forwards: [onEcho()] })
    await world.device('curious', 1)
    const grant = await world.grant('bob', { target: 'guarded', forwards: ['22'] })
    const elsewhere = await world.grant('bob', { target: 'curious', forwards: ['22'] })
    const anns = await world.grant('ann', { target: 'curious', forwards: ['22'] })
    const removed = await world.grant('bob', { target: 'guarded', account: 'once' })
    await world.ok('DELETE', `/grants/${removed}`)
    const hostKey = (folder: string): string => readFileSync(join(folder, 'host-key'), 'utf8')
    const stranger = await makeKey(world.folder)
    const client = await openRelay({
      port: relayPort + 1,
      privateKey: hostKey(from.folder),
      hostKey: hostKeyPublic(hostKey(to.folder)).publicKey,
    })
    const { id: user } = bob
    const right = {
      project: 'default',
      user,
      fingerprint: bob.key.fingerprint,
      target: 'guarded',
      port: 22,
      remoteAddress: '198.51.100.4',
      via: from.id,
    }
    const ask = (forged: object, more: object = {}) => {
      const visit = { id: randomUUID(), login: 'bob', grant, ...more, question: { ...right, ...forged } }
      return client.openVisit(Buffer.from(JSON.stringify(visit)))
    }
    for (const [forged, said] of [
      [{ fingerprint: ann.key.fingerprint }, 'this key was removed'],
      [{ fingerprint: stranger.fingerprint }, 'this key was removed'],
      [{ user: ann.id }, 'this key was removed'],
      [{ user: randomUUID() }, 'this key was removed'],
      [{ user: ann.id, fingerprint: ann.key.fingerprint }, 'there is no target guarded'],
      [{ project: 'other' }, 'this key was removed'],
      [{ port: 80 }, 'there is no target guarded with port 80'],
      [{ target: 'web.guarded' }, 'there is no target web.guarded'],
      [{ target: 'nobody' }, 'there is no target nobody'],
      [{ via: undefined }, 'this is no visit'],
    ] as const)
      await expect(ask(forged), JSON.stringify(forged)).rejects.toThrow(said)
    for (const other of [elsewhere, anns, removed, randomUUID()])
      await expect(ask({}, { grant: other })).rejects.toThrow('what lets you reach guarded has just changed')
    await expect(ask({}, { grant: undefined })).rejects.toThrow('this is no visit')
    const channel = await ask({}, { login: 'somebody else' })
    channel.destroy()
    client.disconnect('done')
    const { entries } = await world.ok<{ entries: object[] }>('GET', '/audit?type=visit&target=guarded')
    expect(entries.length).toBeLessThanOrEqual(1)
    for (const entry of entries)
      expect(entry).toMatchObject({ userId: user, grant, slave: to.id, via: from.id })
  })

  test('whoever has two grants is let through, and stays, while the better one comes and goes', async () => {
    await world.device('doubly', 1, { forwards: [onEcho()] })
    const until = new Date(Date.now() + 3_600_000).toISOString()
    const stays = await world.grant('ann', { target: 'doubly', account: 'stays', until })
    const better: string[] = []
    const { address } = await ann.open('doubly')
    let changing = true
    const change = async (): Promise<void> => {
      while (changing) {
        const goes = await world.grant('ann', { target: 'doubly', account: 'goes' })
        better.push(goes)
        await world.ok('DELETE', `/grants/${goes}`)
      }
    }
    const changes = change()
    try {
      const session = await openVisit(address)
      session.send('s')
      await session.receive(1)
      for (let n = 0; n < 30 || better.length < 5; n++)
        expect(await talk(address, `visit ${n}`)).toBe(`visit ${n}`)
      expect(await talk(address, 'all')).toBe('all')
      session.send('tays')
      expect((await session.receive(5)).toString()).toBe('stays')
      session.close()
    } finally {
      changing = false
      await changes
    }
    const { entries } = await world.ok<{ entries: { grant: string }[] }>(
      'GET',
      '/audit?type=visit&target=doubly&limit=500',
    )
    expect(entries.length).toBeGreaterThan(0)
    for (const { grant } of entries) expect([stays, ...better]).toContain(grant)
  })

  test('lets in neither people nor devices, only host keys that the master lists', async () => {
    const held = await world.device('visiting', 0)
    const settings = ['BatchMode=yes', 'IdentitiesOnly=yes', 'IdentityAgent=none', 'StrictHostKeyChecking=no']
    const flags = [...settings, 'UserKnownHostsFile=/dev/null'].flatMap((setting) => ['-o', setting])
    const knock = (keyFile: string, ...words: string[]) =>
      run('ssh', [
        '-F',
        'none',
        '-p',
        String(relayPort + 1),
        '-i',
        keyFile,
        ...flags,
        'x@127.0.0.1',
        ...words,
      ])
    for (const { path } of [ann.key, held.key])
      expect((await knock(path, '-W', 'mover:22')).stderr).toMatch(/Permission denied/)
    // A slave's own host key logs in, and is nobody who visits or gets a command.
    const hostKey = join(of(world.all.slaves, 0).folder, 'host-key')
    for (const words of [['-W', 'mover:22'], ['id']]) {
      const ran = await knock(hostKey, ...words)
      expect(ran.status).not.toBe(0)
      expect(ran.stderr).not.toMatch(/Permission denied/)
      expect(ran.stdout).toBe('')
    }
  })
})

test('what is open over a relay survives the end of a master, and so does the way in', async () => {
  const { address } = await ann.open('mover')
  const session = await openVisit(address)
  session.send('before')
  await session.receive(6)
  const { process } = of(world.all.masters, 1)
  process.signal('SIGKILL')
  await process.exited
  session.send('while')
  expect((await session.receive(11)).toString()).toBe('beforewhile')
  // Its slaves are with the other one in a moment.
  await eventually(async () => expect(await talk(address, 'new')).toBe('new'))
  await world.all.restartMaster(1)
})

describe('a slave that is gone', () => {
  interface Entry {
    visit: string
    slave: string
    endedAt?: string
    reason?: string
    bytesToTarget?: number
  }
  const audited = async (target: string): Promise<Entry[]> =>
    (await world.ok<{ entries: Entry[] }>('GET', `/audit?type=visit&target=${target}`)).entries

  test('that only stood still says when it is back that its visits stand, and how they end', async () => {
    await world.device('patient', 1, { forwards: [onEcho()] })
    await grantBoth('patient')
    const visit = await openVisit((await bob.open('patient', 22, 1)).address)
    visit.send('here')
    await visit.receive(4)
    const { process } = of(world.all.slaves, 1)
    process.signal('SIGSTOP')
    const entry = async (): Promise<Entry> => of(await audited('patient'), 0)
    await eventually(async () => expect(await entry()).toMatchObject({ reason: 'its slave was lost' }), {
      within: 30_000,
    })
    process.signal('SIGCONT')
    await eventually(async () => expect(await entry()).not.toHaveProperty('endedAt'), { within: 20_000 })
    visit.send('again')
    await visit.receive(9)
    visit.close()
    await eventually(async () => expect(await entry()).toMatchObject({ bytesToTarget: 9 }))
  })

  test('killed with visits in the middle: each has its end in the audit, once, and only the bytes are unknown', async () => {
    await world.device('sudden', 1, { forwards: [onEcho()] })
    await grantBoth('sudden')
    const events = await world.events()
    const relayed = await openVisit((await ann.open('sudden', 22, 0)).address)
    const direct = await openVisit((await bob.open('sudden', 22, 1)).address)
    for (const visit of [relayed, direct]) {
      visit.send('here')
      await visit.receive(4)
    }
    await eventually(async () => expect(await audited('sudden')).toHaveLength(2))
    const { process, id: slave } = of(world.all.slaves, 1)
    process.signal('SIGKILL')
    await process.exited
    await events.next('slave.lost', { slave })
    const entries = await eventually(async () => {
      const found = await audited('sudden')
      expect(found.every(({ endedAt }) => endedAt !== undefined)).toBe(true)
      return found
    })
    for (const { reason, bytesToTarget } of entries)
      expect({ reason, bytesToTarget }).toEqual({ reason: 'its slave was lost', bytesToTarget: undefined })
    await world.all.restartSlave(1)
    // Whatever either master still had to tell of it comes before this.
    await world.device('later', 1)
    await events.next('tunnel.up', { device: 'later' })
    const closed = events.list.flatMap(({ type, data }) =>
      type === 'visit.closed' && data['target'] === 'sudden' ? [String(data['visit'])] : [],
    )
    expect(closed.sort()).toEqual(entries.map(({ visit }) => visit).sort())
  })
})

describe('--gate-host with several slaves', () => {
  test('G007: one name serves all; losing a slave strands nobody', async () => {
    const moving = await world.device('everywhere', 0)
    await grantBoth('everywhere')
    // As a name with two addresses in the DNS; ssh tries them in turn.
    const hosts = join(makeFolder(), 'hosts')
    writeFileSync(hosts, '127.0.0.1 localhost\n127.0.0.2 gate.test\n127.0.0.3 gate.test\n')
    const answer = await world.ok<{ gate: { host: string; port: number } }>('GET', '/ssh-config?user=ann')
    expect(answer.gate).toMatchObject({ host: 'gate.test', port: gatePort })
    const files = await ann.files(null)
    const ssh = async () => {
      const inside = `mount --bind ${hosts} /etc/hosts && exec ssh -F ${files.config} everywhere echo here`
      return run('unshare', ['-m', 'sh', '-c', inside])
    }
    const before = await ssh()
    expect(before.stdout, before.stderr).toBe('here\n')
    const { process } = of(world.all.slaves, 0)
    process.signal('SIGKILL')
    await process.exited
    await moving.moveTo(1)
    const after = await ssh()
    expect(after.stdout, after.stderr).toBe('here\n')
    await world.all.restartSlave(0)
  })
})
