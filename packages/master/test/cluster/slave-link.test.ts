import { once } from 'node:events'
import { connect } from 'node:net'

import { CLOSE, type FixedPort } from '@sshoal/shared'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'

import {
  bound,
  makeHostKey,
  openSlaveEnd,
  signedHello,
  startMasterEnd,
  tunnel,
  until,
  type MasterEnd,
  type SlaveEnd,
  type SlaveScript,
} from './fixture.ts'

const hostKey = makeHostKey()
const masters: MasterEnd[] = []
const slaves: SlaveEnd[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const slave of slaves.splice(0)) slave.wire.terminate()
  await Promise.all(masters.splice(0).map((master) => master.close()))
})

async function startMaster(deps: Parameters<typeof startMasterEnd>[0] = {}): Promise<MasterEnd> {
  const master = await startMasterEnd(deps)
  masters.push(master)
  return master
}

function dial(master: MasterEnd, id: string, script: SlaveScript = {}): SlaveEnd {
  const slave = openSlaveEnd(master.url, id, { hostKey, ...script })
  slaves.push(slave)
  return slave
}

async function join(master: MasterEnd, id: string, script: SlaveScript = {}): Promise<SlaveEnd> {
  const slave = dial(master, id, script)
  await until(() => slave.welcomes.length > 0 || slave.ends.length > 0)
  expect(slave.ends).toEqual([])
  return slave
}

async function refused(
  master: MasterEnd,
  id: string,
  script: SlaveScript = {},
): Promise<SlaveEnd['ends'][0]> {
  const slave = dial(master, id, script)
  await until(() => slave.ends.length > 0)
  expect(slave.welcomes).toEqual([])
  return slave.ends[0]!
}

const devices = (master: MasterEnd): string[] =>
  master.cluster
    .tunnels({ limit: 1_000 })
    .tunnels.map(({ device, slave, epoch }) => `${device}@${slave}:${epoch}`)
    .sort()

describe('the door', () => {
  async function status(
    master: MasterEnd,
    headers: Record<string, string>,
    path = '/slaves',
    sub = 'sshoal.v1',
  ) {
    const socket = new WebSocket(master.url.replace('/slaves', path), sub, { headers })
    socket.on('error', () => {})
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode: number }]
    socket.terminate()
    return response.statusCode
  }

  test('a wrong token is 401, another subprotocol 400, another path 404, a store that is away 503', async () => {
    const master = await startMaster()
    expect(await status(master, { authorization: 'Bearer wrong' })).toBe(401)
    expect(await status(master, {})).toBe(401)
    expect(await status(master, { authorization: 'Basic good' })).toBe(401)
    expect(await status(master, { authorization: 'Bearer good' }, '/slaves', 'sshoal.v9')).toBe(400)
    expect(await status(master, { authorization: 'Bearer good' }, '/other')).toBe(404)
    expect(await status(master, { authorization: 'Bearer broken' })).toBe(503)
    expect(master.links.size).toBe(0)
  })

  test.each(['//', '///slaves', 'http://', '/\\', '*'])(
    'the request target %j is refused, not a crash',
    async (target) => {
      const master = await startMaster()
      const socket = connect(Number(new URL(master.url).port), '127.0.0.1')
      socket.write(`GET ${target} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n`)
      const [answer] = (await once(socket, 'data')) as [Buffer]
      expect(answer.toString()).toMatch(/^HTTP\/1.1 40[04] /)
      socket.destroy()
    },
  )

  test('who is refused and keeps his side open keeps no socket of the master', async () => {
    const master = await startMaster()
    const accepted = once(master.server, 'connection') as Promise<[{ destroyed: boolean }]>
    const socket = connect({ port: Number(new URL(master.url).port), host: '127.0.0.1', allowHalfOpen: true })
    socket.write('GET /no HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
    const [server] = await accepted
    await until(() => server.destroyed)
    socket.destroy()
  })

  test('a token that is revoked closes what it opened, and only that', async () => {
    const master = await startMaster()
    const first = await join(master, 's1')
    const second = await join(master, 's2', { token: 'other' })
    master.links.revoked('t-good')
    await until(() => first.ends.length > 0)
    expect(first.ends[0]).toEqual({ code: CLOSE.UNAUTHORIZED, reason: 'the token was revoked' })
    expect(second.wire.open).toBe(true)
  })

  test('a master that stops closes every link with 1001', async () => {
    const master = await startMaster()
    const slave = await join(master, 's1')
    master.links.close()
    await until(() => slave.ends.length > 0)
    expect(slave.ends[0]?.code).toBe(CLOSE.GOING_AWAY)
  })
})

describe('the handshake', () => {
  test('T112: a slave that proves itself is welcomed with fixed ports, the clock and its place', async () => {
    const fixed: FixedPort[] = [{ project: 'default', device: 'a', port: 20_005 }]
    const regions: (string | undefined)[] = []
    const master = await startMaster({
      fixedPorts: (region) => {
        regions.push(region)
        return Promise.resolve(fixed)
      },
    })
    const slave = await join(master, 's1', { hello: { region: 'eu' } })
    const [welcome] = slave.welcomes
    expect(welcome).toMatchObject({
      seenAddress: '127.0.0.1',
      invalidation: { store: 'store-1', number: 7 },
      fixedPorts: fixed,
      lost: [],
    })
    expect(Math.abs((welcome?.nowMicros ?? 0) / 1_000 - Date.now())).toBeLessThan(60_000)
    expect(regions).toEqual(['eu'])
    expect(master.cluster.view().slaves).toMatchObject([{ id: 's1', state: 'ready', region: 'eu' }])
  })

  test('a signature by another key than the first host key is 4401', async () => {
    const master = await startMaster()
    const end = await refused(master, 's1', {
      onChallenge: (slave, nonce) =>
        slave.wire.send('hello', {
          ...signedHello('s1', hostKey, nonce),
          hostKeys: [{ algorithm: 'ssh-ed25519', publicKey: makeHostKey().publicKey }],
        }),
    })
    expect(end.code).toBe(CLOSE.UNAUTHORIZED)
  })

  test('a signature over another nonce or for another id is 4401', async () => {
    const master = await startMaster()
    const wrong: ((nonce: string) => ReturnType<typeof signedHello>)[] = [
      (nonce) => signedHello('s1', hostKey, `${nonce}x`),
      (nonce) => ({ ...signedHello('s2', hostKey, nonce), id: 's1' }),
      (nonce) => ({ ...signedHello('s1', hostKey, nonce), signature: 'AAAA' }),
      (nonce) => ({ ...signedHello('s1', hostKey, nonce), signature: '' }),
    ]
    for (const make of wrong) {
      const onChallenge = (slave: SlaveEnd, nonce: string) => slave.wire.send('hello', make(nonce))
      expect((await refused(master, 's1', { onChallenge })).code).toBe(CLOSE.UNAUTHORIZED)
    }
    expect(master.cluster.size).toEqual({ slaves: 0, tunnels: 0 })
  })

  test('a version that does not overlap is refused in words that say which side to update', async () => {
    const master = await startMaster()
    const newer = await refused(master, 's1', { hello: { protocol: { version: 9, oldest: 8 } } })
    expect(newer).toMatchObject({
      code: CLOSE.VERSION,
      reason: expect.stringContaining('update the master') as string,
    })
    const older = await refused(master, 's1', { hello: { protocol: { version: 0, oldest: 0 } } })
    expect(older).toMatchObject({
      code: CLOSE.VERSION,
      reason: expect.stringContaining('update the slave') as string,
    })
  })

  test('a neighbouring version that still understands ours is welcome', async () => {
    const master = await startMaster()
    await join(master, 's1', { hello: { protocol: { version: 2, oldest: 1 } } })
  })

  test('T114, T120: a second hello ends the link', async () => {
    const master = await startMaster()
    const slave = await join(master, 's1')
    slave.wire.send('hello', signedHello('s1', hostKey, 'x'.repeat(32)))
    await until(() => slave.ends.length > 0)
    expect(slave.ends[0]).toEqual({ code: CLOSE.BAD_FRAME, reason: 'a second hello' })
  })

  test('T120: a snapshot before the hello, or after the last, ends the link', async () => {
    const master = await startMaster()
    const early = await refused(master, 's1', {
      onChallenge: (slave) => slave.wire.send('snapshot', { tunnels: [], last: true }),
    })
    expect(early.code).toBe(CLOSE.BAD_FRAME)
    const slave = await join(master, 's1')
    slave.wire.send('snapshot', { tunnels: [], last: true })
    await until(() => slave.ends.length > 0)
    expect(slave.ends[0]?.code).toBe(CLOSE.BAD_FRAME)
  })

  test('an empty id is refused', async () => {
    const master = await startMaster()
    expect((await refused(master, '')).code).toBe(CLOSE.BAD_FRAME)
  })

  test('changes that come before the hello count for nothing', async () => {
    const master = await startMaster()
    const slave = dial(master, 's1', {
      onChallenge: (slave, nonce) => {
        slave.wire.send('tunnel.up', tunnel('ghost', 5))
        slave.greet(nonce)
      },
    })
    await until(() => slave.welcomes.length > 0)
    expect(devices(master)).toEqual([])
  })

  test('requests before the welcome are refused, and the master lives', async () => {
    const answers: unknown[] = []
    const master = await startMaster()
    const slave = dial(master, 's1', {
      onChallenge: (slave, nonce) => {
        const who = { publicKey: '', username: 'x', remoteAddress: '192.0.2.1' }
        for (const request of [
          slave.wire.request('who', who),
          slave.wire.request('admit', {
            project: 'p',
            device: 'd',
            fingerprint: '',
            remoteAddress: '',
            incumbent: 0,
          }),
        ])
          request.catch((error: unknown) => answers.push(error))
        slave.greet(nonce)
      },
    })
    await until(() => answers.length === 2 && slave.welcomes.length === 1)
    for (const answer of answers) expect(answer).toMatchObject({ code: 'NOT_WELCOMED' })
  })

  test('T119: who says nothing is not waited for', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const master = await startMaster()
    const challenge = { came: false }
    const slave = dial(master, 's1', { onChallenge: () => (challenge.came = true) })
    while (!challenge.came) await new Promise((resolve) => setImmediate(resolve))
    vi.advanceTimersByTime(10_000)
    vi.useRealTimers()
    await until(() => slave.ends.length > 0)
    expect(slave.ends[0]?.code).toBe(CLOSE.DEADLINE)
  })

  test('a store that cannot be read is no welcome, and leaves nothing behind', async () => {
    const master = await startMaster({ fixedPorts: () => Promise.reject(new Error('away')) })
    const end = await refused(master, 's1', { tunnels: [tunnel('a', 1)] })
    expect(end).toEqual({ code: CLOSE.GOING_AWAY, reason: 'the store cannot be read' })
    await until(() => master.links.size === 0)
    expect(master.cluster.size).toEqual({ slaves: 0, tunnels: 0 })
    expect(master.cluster.count('default')).toBe(0)
  })

  test('T098: a link that ends in the middle of its first snapshot leaves no tunnel behind', async () => {
    const master = await startMaster()
    const slave = dial(master, 's1', {
      onChallenge: (slave, nonce) => {
        slave.wire.send('hello', signedHello('s1', hostKey, nonce))
        slave.wire.send('snapshot', { tunnels: [tunnel('a', 1), tunnel('b', 2)], last: false })
      },
    })
    await until(() => master.cluster.size.tunnels === 2)
    slave.socket.terminate()
    await until(() => master.links.size === 0)
    expect(master.cluster.size).toEqual({ slaves: 0, tunnels: 0 })
  })

  test('changes between the snapshot and the welcome count', async () => {
    let release = (_fixed: FixedPort[]): void => {}
    const master = await startMaster({ fixedPorts: () => new Promise((resolve) => (release = resolve)) })
    const slave = dial(master, 's1', { tunnels: [tunnel('a', 1), tunnel('b', 2), tunnel('c', 3)] })
    await until(() => master.cluster.size.tunnels === 3)
    slave.wire.send('tunnel.down', { project: 'default', device: 'a', epoch: 1, reason: 'left' })
    slave.wire.send('tunnel.up', tunnel('d', 4))
    slave.wire.send('tunnel.changed', {
      project: 'default',
      device: 'b',
      epoch: 2,
      forwards: [bound(1), bound(2)],
    })
    slave.wire.send('draining', { draining: true })
    await until(() => devices(master).includes('d@s1:4'))
    release([])
    await until(() => slave.welcomes.length > 0)
    expect(devices(master)).toEqual(['b@s1:2', 'c@s1:3', 'd@s1:4'])
    expect(master.cluster.tunnelOf({ project: 'default', device: 'b' })?.forwards).toHaveLength(2)
    expect(master.cluster.view().slaves).toMatchObject([{ state: 'draining', tunnels: 3 }])
  })
})

describe('one id, one slave', () => {
  test('T121 (overruled): the newest link of the same host key wins, and its snapshot is the truth', async () => {
    const master = await startMaster()
    const older = await join(master, 's1', { tunnels: [tunnel('a', 1), tunnel('b', 2)] })
    const newer = await join(master, 's1', { tunnels: [tunnel('b', 2), tunnel('c', 3)] })
    await until(() => older.ends.length > 0)
    expect(older.ends[0]?.code).toBe(CLOSE.REPLACED)
    expect(devices(master)).toEqual(['b@s1:2', 'c@s1:3'])
    expect(master.cluster.view().slaves).toHaveLength(1)
    expect(master.eventsOf('slave.ready')).toHaveLength(1)
    expect(master.eventsOf('slave.synced')).toHaveLength(1)
    expect(newer.wire.open).toBe(true)
  })

  test('the newest link wins also when neither has handed in its whole snapshot', async () => {
    const master = await startMaster()
    const half = dial(master, 's1', {
      onChallenge: (slave, nonce) => {
        slave.wire.send('hello', signedHello('s1', hostKey, nonce))
        slave.wire.send('snapshot', { tunnels: [tunnel('a', 1)], last: false })
      },
    })
    await until(() => master.cluster.size.tunnels === 1)
    await join(master, 's1', { tunnels: [tunnel('b', 2)] })
    await until(() => half.ends.length > 0)
    expect(half.ends[0]?.code).toBe(CLOSE.REPLACED)
    expect(devices(master)).toEqual(['b@s1:2'])
    expect(master.cluster.view().slaves).toHaveLength(1)
  })

  test('T033: another host key is refused with 4409 while the older process answers', async () => {
    const master = await startMaster()
    const older = await join(master, 's1', { tunnels: [tunnel('a', 1)] })
    const end = await refused(master, 's1', { hostKey: makeHostKey(), tunnels: [tunnel('z', 9)] })
    expect(end.code).toBe(CLOSE.ID_TAKEN)
    expect(end.reason).toContain('s1')
    expect(older.wire.open).toBe(true)
    expect(devices(master)).toEqual(['a@s1:1'])
  })

  test('another host key is accepted when the older process does not answer, and that is an event', async () => {
    const master = await startMaster()
    const older = await join(master, 's1', { tunnels: [tunnel('a', 1)] })
    older.socket.pause()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const newer = dial(master, 's1', { hostKey: makeHostKey(), tunnels: [tunnel('b', 2)] })
    while (newer.welcomes.length === 0 && newer.ends.length === 0) {
      if (master.links.size === 2) vi.advanceTimersByTime(20)
      await new Promise((resolve) => setImmediate(resolve))
    }
    vi.useRealTimers()
    expect(master.eventsOf('slave.host-key-changed')).toMatchObject([{ slave: 's1' }])
    expect(devices(master)).toEqual(['b@s1:2'])
  })

  test('another host key of the same process is no second claimant', async () => {
    const master = await startMaster()
    await join(master, 's1', { hello: { instance: 'one' } })
    await join(master, 's1', { hello: { instance: 'one' }, hostKey: makeHostKey() })
    expect(master.eventsOf('slave.host-key-changed')).toHaveLength(1)
  })

  test('what still comes over the older link changes nothing', async () => {
    const master = await startMaster()
    const older = await join(master, 's1', { tunnels: [tunnel('a', 1)] })
    older.socket.pause() // it does not hear that it was replaced
    await join(master, 's1', { tunnels: [tunnel('a', 1)] })
    older.wire.send('tunnel.down', { project: 'default', device: 'a', epoch: 1, reason: 'late' })
    older.wire.send('tunnel.up', tunnel('late', 99))
    const probe = await join(master, 's2')
    await until(() => probe.welcomes.length > 0)
    expect(devices(master)).toEqual(['a@s1:1'])
  })
})

describe('the end of a link', () => {
  test('T115, T116: a slave whose link breaks is stale for the grace, then lost with all its tunnels', async () => {
    const master = await startMaster({ slaveGraceMs: 60 })
    const slave = await join(master, 's1', { tunnels: [tunnel('a', 1), tunnel('b', 2)] })
    slave.socket.terminate()
    await until(() => master.cluster.view().slaves[0]?.state === 'stale')
    expect(await master.cluster.slot({})).toBeUndefined()
    expect(devices(master)).toHaveLength(2)
    await until(() => master.cluster.size.slaves === 0)
    expect(master.cluster.size.tunnels).toBe(0)
    expect(master.events.map(({ type }) => type).filter((type) => type.startsWith('slave.'))).toEqual([
      'slave.ready',
      'slave.stale',
      'slave.lost',
    ])
    expect(master.eventsOf('tunnel.down')).toHaveLength(2)
  })

  test('T113: a slave that comes back within the grace loses nothing', async () => {
    const master = await startMaster()
    const before = await join(master, 's1', { tunnels: [tunnel('a', 1)] })
    before.socket.terminate()
    await until(() => master.cluster.view().slaves[0]?.state === 'stale')
    await join(master, 's1', { tunnels: [tunnel('a', 1)] })
    expect(master.cluster.view().slaves).toMatchObject([{ state: 'ready', tunnels: 1 }])
    expect(master.eventsOf('tunnel.down')).toEqual([])
    expect(master.eventsOf('tunnel.up')).toHaveLength(1)
  })

  test('a bye is at once', async () => {
    const master = await startMaster({ slaveGraceMs: 3_600_000 })
    const slave = await join(master, 's1', { tunnels: [tunnel('a', 1)] })
    slave.bye()
    await until(() => master.cluster.size.slaves === 0)
    expect(master.cluster.size.tunnels).toBe(0)
    expect(master.eventsOf('slave.lost')).toMatchObject([{ reason: 'stopped', tunnels: 1 }])
    expect(master.eventsOf('slave.stale')).toEqual([])
  })

  test('T129: ten rounds of connecting and leaving leave nothing behind', async () => {
    const master = await startMaster()
    for (let round = 0; round < 10; round++) {
      const slave = await join(master, 's1', { tunnels: [tunnel('a', round + 1)] })
      slave.bye()
      await until(() => slave.ends.length > 0)
    }
    await until(() => master.links.size === 0)
    expect(master.cluster.size).toEqual({ slaves: 0, tunnels: 0 })
    expect(master.cluster.count('default')).toBe(0)
    expect(master.eventsOf('slave.ready')).toHaveLength(10)
    expect(master.eventsOf('slave.lost')).toHaveLength(10)
  })
})

describe('what a welcomed slave tells and is told', () => {
  test('T113: the welcome lists tunnels that lost while the slave was away', async () => {
    const master = await startMaster()
    await join(master, 's1', { tunnels: [tunnel('a', 10)] })
    const late = await join(master, 's2', { tunnels: [tunnel('a', 9), tunnel('b', 1)] })
    expect(late.welcomes[0]?.lost).toMatchObject([{ device: 'a', epoch: 9 }])
    expect(devices(master)).toEqual(['a@s1:10', 'b@s2:1'])
  })

  test('a tunnel that comes up and has lost already is cut over the same link', async () => {
    const master = await startMaster()
    await join(master, 's1', { tunnels: [tunnel('a', 10)] })
    const other = await join(master, 's2')
    other.wire.send('tunnel.up', tunnel('a', 9))
    await until(() => other.asked.length > 0)
    expect(other.asked).toMatchObject([['cut', { device: 'a', epoch: 9 }]])
    expect(devices(master)).toEqual(['a@s1:10'])
  })

  test('a tunnel that moves is yielded by the slave that had it', async () => {
    const master = await startMaster()
    const older = await join(master, 's1', { tunnels: [tunnel('a', 10)] })
    const newer = await join(master, 's2')
    newer.wire.send('tunnel.up', tunnel('a', 11))
    await until(() => older.asked.length > 0)
    expect(older.asked).toMatchObject([['yield', { device: 'a', epoch: 11 }]])
    expect(devices(master)).toEqual(['a@s2:11'])
  })

  test('who and admit are answered in the name of the slave that asks', async () => {
    const questions: unknown[] = []
    const master = await startMaster({
      ask: (question) => {
        questions.push(question)
        return Promise.resolve({ outcome: 'refused', code: 'KEY_UNKNOWN', reason: 'no' })
      },
    })
    const slave = await join(master, 's1', { hello: { region: 'eu' } })
    const who = { publicKey: 'AAAA', username: 'pi', remoteAddress: '192.0.2.1' }
    await expect(slave.wire.request('who', who)).resolves.toMatchObject({ outcome: 'refused' })
    expect(questions).toEqual([{ ...who, slave: 's1', slaveRegion: 'eu' }])
    const holder = { project: 'default', device: 'a', fingerprint: '', remoteAddress: '', incumbent: 0 }
    await expect(slave.wire.request('admit', holder)).resolves.toMatchObject({ outcome: 'admitted' })
  })

  test('refusals, status and fixed ports travel', async () => {
    let fixed: FixedPort[] = []
    const told: FixedPort[][] = []
    const master = await startMaster({ fixedPorts: () => Promise.resolve(fixed) })
    const slave = await join(master, 's1', { fixedPorts: (list) => told.push(list) })
    slave.wire.send('refused', { code: 'KEY_UNKNOWN', reason: 'r', remoteAddress: '192.0.2.1' })
    slave.wire.send('status', { load: 0.5, visits: 3, connections: 2 })
    fixed = [{ project: 'default', device: 'a', port: 20_001 }]
    master.cluster.fixedPortsChanged()
    await until(() => told.length > 0 && master.refusals.length > 0)
    expect(told).toEqual([fixed])
    expect(master.refusals).toMatchObject([{ code: 'KEY_UNKNOWN' }])
    await until(() => master.cluster.view().slaves[0]?.load === 0.5)
  })

  test('invalidations arrive with rising numbers, in their order, and the cuts are added up', async () => {
    let number = 7
    const delays = [30, 0, 10]
    const nextInvalidation = async (): Promise<number> => {
      const mine = ++number
      await new Promise((resolve) => setTimeout(resolve, delays[mine - 8]))
      return mine
    }
    const master = await startMaster({
      store: {
        id: 'store-1',
        state: 'ok',
        nextInvalidation,
        lastInvalidation: () => Promise.resolve(number),
      },
    })
    const invalidate = vi.fn(() => Promise.resolve({ cut: 2 }))
    const first = await join(master, 's1')
    await join(master, 's2', { requests: { invalidate } })
    const cuts = await Promise.all(
      [['SHA256:a'], null, ['SHA256:b']].map((keys) => master.cluster.invalidate(keys)),
    )
    expect(cuts).toEqual([2, 2, 2])
    expect(first.asked).toEqual([
      ['invalidate', { number: 8, store: 'store-1', fingerprints: ['SHA256:a'] }],
      ['invalidate', { number: 9, store: 'store-1', fingerprints: null }],
      ['invalidate', { number: 10, store: 'store-1', fingerprints: ['SHA256:b'] }],
    ])
    expect(invalidate).toHaveBeenCalledTimes(3)
  })

  test('a slave that was away reads in its welcome that it missed invalidations', async () => {
    const master = await startMaster()
    const before = await join(master, 's1')
    before.bye()
    await until(() => master.cluster.size.slaves === 0)
    await master.cluster.invalidate(['SHA256:a'])
    const after = await join(master, 's1', { hello: { invalidation: { store: 'store-1', number: 7 } } })
    expect(after.welcomes[0]?.invalidation).toEqual({ store: 'store-1', number: 8 })
  })

  test('a slave that does not confirm an invalidation does not hold up the others', async () => {
    const master = await startMaster()
    await join(master, 's1', { requests: { invalidate: () => Promise.reject(new Error('broken')) } })
    await join(master, 's2', { requests: { invalidate: () => Promise.resolve({ cut: 1 }) } })
    await expect(master.cluster.invalidate(null)).resolves.toBe(1)
  })
})
