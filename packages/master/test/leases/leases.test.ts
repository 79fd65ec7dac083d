import { loadConfig } from '@sshoal/shared'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { withLeases } from '../../src/leases/lease-answer.ts'
import { LeaseEnds } from '../../src/leases/lease-ends.ts'
import { Leases, type LeasesDeps } from '../../src/leases/leases.ts'
import { masterOptions } from '../../src/options.ts'
import { blob, fingerprint, keyLine } from '../key-lines.ts'
import { startRooms } from '../master-parts.ts'
import { FakeLeaseSlaves } from './fake-slaves.ts'

type Rooms = Awaited<ReturnType<typeof startRooms>>

let rooms: Rooms
let slaves: FakeLeaseSlaves
let clock: number
let events: { type: string; data: Record<string, unknown> }[]
let open: Leases[]
let leases: Leases

beforeEach(async () => {
  rooms = await startRooms()
  slaves = new FakeLeaseSlaves()
  clock = 1_900_000_000_000
  events = []
  open = []
  leases = await master()
})
afterEach(async () => {
  for (const one of open) one.close()
  await rooms.close()
})

async function master(more: Partial<LeasesDeps> = {}): Promise<Leases> {
  const made = new Leases({
    store: rooms.store,
    registry: rooms.registry,
    slaves,
    announce: (type, data) => void events.push({ type, data: data as Record<string, unknown> }),
    publish: (type, data) => void events.push({ type, data: data as Record<string, unknown> }),
    log: rooms.log,
    maxMs: 86_400_000,
    shared: false,
    now: () => clock,
    count: () => {},
    countRefused: () => {},
    ...more,
  })
  open.push(made)
  await made.start()
  return made
}

const mac = (n: number): string => n.toString(16).padStart(12, '0')
const issue = (n: number, more: object = {}, from = leases) =>
  from.request('default', { macaddress: mac(n), timeout: 60_000, issuedBy: 't1', ...more })
const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: { code: string }) => error.code,
  )
const stored = async (): Promise<number> =>
  (await rooms.store.scan({ kind: 'lease', limit: 10_000 })).records.length
/** Until nothing is being ended any more. */
async function swept(from = leases): Promise<void> {
  from.sweep()
  await expect.poll(() => from.backlog).toBe(0)
}
const who = (seed: number, slave = 'eu-1', from = leases) =>
  from.who({ publicKey: blob(seed), username: 'x', remoteAddress: '192.0.2.1', slave })

describe('ports', () => {
  test('K034: 100 requests at once give 100 distinct keys and ports, and no mix-up', async () => {
    const made = await Promise.all(Array.from({ length: 100 }, (_, n) => issue(n)))
    expect(new Set(made.map(({ lease }) => lease.port)).size).toBe(100)
    expect(new Set(made.map(({ privateKey }) => privateKey)).size).toBe(100)
    expect(new Set(made.map(({ lease }) => lease.fingerprint)).size).toBe(100)
    for (const [n, { lease }] of made.entries()) {
      expect(lease.device).toBe(mac(n))
      expect(slaves.one().standing.get(lease.id)).toMatchObject({
        fingerprint: lease.fingerprint,
        port: lease.port,
      })
    }
    expect(await stored()).toBe(100)
  })

  test('100 at once for one device leave one lease, on the slave as in the store', async () => {
    await Promise.all(Array.from({ length: 100 }, () => issue(1)))
    expect([await stored(), slaves.one().standing.size, leases.size]).toEqual([1, 1, 1])
  })

  test('K041 K046 K049: both ends of the range are given; one more is NO_PORT, and after an expiry it succeeds', async () => {
    slaves.one().forwardPorts = { first: 20_000, last: 20_002 }
    const made = [await issue(1), await issue(2, { timeout: 1_000 }), await issue(3)]
    expect(made.map(({ lease }) => lease.port)).toEqual([20_000, 20_001, 20_002])
    expect(await code(issue(4))).toBe('NO_PORT')
    clock += 1_000
    await swept()
    expect((await issue(4)).lease.port).toBe(20_001)
  })

  test('K046: a range of one port is a range, and a re-issue may have it again', async () => {
    slaves.one().forwardPorts = { first: 20_000, last: 20_000 }
    const first = await issue(1)
    expect(await code(issue(2))).toBe('NO_PORT')
    const second = await issue(1)
    expect(second.lease.port).toBe(20_000)
    expect([...slaves.one().standing.keys()]).toEqual([second.lease.id])
    expect(await code(leases.get('default', first.lease.id))).toBe('UNKNOWN_LEASE')
  })

  test('K056 K057: two masters on one store never give one port twice', async () => {
    const other = await master({ shared: true })
    const made = await Promise.all(Array.from({ length: 20 }, (_, n) => issue(n, {}, n % 2 ? leases : other)))
    expect(new Set(made.map(({ lease }) => lease.port)).size).toBe(20)
  })

  test('K056 K057: a record that another master wrote keeps its port, whatever the slave says', async () => {
    const first = await issue(1)
    slaves.one().standing.clear() // a slave that has forgotten, and offers the port again
    expect((await issue(2)).lease.port).toBe(20_001)
    expect(slaves.one().standing.get(first.lease.id)?.port).toBe(20_000)
    expect(await code(issue(3, { port: first.lease.port }))).toBe('PORT_TAKEN')
  })

  test('an exact port: given, or refused in words', async () => {
    expect((await issue(1, { port: 20_417 })).lease.port).toBe(20_417)
    expect(await code(issue(2, { port: 20_417 }))).toBe('PORT_TAKEN')
    // Its own it may have again.
    expect((await issue(1, { port: 20_417 })).lease.port).toBe(20_417)
  })
})

describe('what fails leaves nothing behind', () => {
  const nothing = async (): Promise<void> => {
    expect([await stored(), slaves.one().standing.size, leases.size]).toEqual([0, 0, 0])
    expect((await rooms.store.scan({ kind: 'device', limit: 10 })).records).toEqual([])
  }

  test('K048 K060 K061 K088: a store that fails: the port is given back, the error is told', async () => {
    const transact = rooms.store.transact.bind(rooms.store)
    rooms.store.transact = () =>
      Promise.reject(Object.assign(new Error('disk full'), { code: 'STORE_FAILED' }))
    expect(await code(issue(1))).toBe('STORE_FAILED')
    rooms.store.transact = transact
    await nothing()
    expect(slaves.ended).toMatchObject([{ code: 'LEASE_FAILED' }])
  })

  test('a re-issue that fails leaves the old lease as it was, also where it had its port taken over', async () => {
    slaves.one().forwardPorts = { first: 20_000, last: 20_000 }
    const { lease } = await issue(1)
    const transact = rooms.store.transact.bind(rooms.store)
    rooms.store.transact = () =>
      Promise.reject(Object.assign(new Error('disk full'), { code: 'STORE_FAILED' }))
    expect(await code(issue(1))).toBe('STORE_FAILED')
    rooms.store.transact = transact
    expect([...slaves.one().standing.keys()]).toEqual([lease.id])
    expect((await leases.get('default', lease.id)).port).toBe(20_000)
  })

  test('K036 K059: nothing is locked where no slave takes it', async () => {
    slaves.one().reachable = false
    expect(await code(issue(1))).toBe('NO_SLAVE')
    slaves.one().reachable = true
    await nothing()
  })

  test('a slave that does not answer is passed over', async () => {
    slaves.one().reachable = false
    slaves.add('eu-2', { tunnels: 4_000 })
    expect((await issue(1)).lease.slave).toBe('eu-2')
  })

  test('K034: a key that is somebody’s already is refused', async () => {
    await rooms.registry.create('default', { id: 'pump', keys: [keyLine(1)] })
    expect(await code(issue(1, { publicKey: keyLine(1) }))).toBe('KEY_TAKEN')
    await issue(2, { publicKey: keyLine(2) })
    expect(await code(issue(3, { publicKey: keyLine(2) }))).toBe('KEY_TAKEN')
    expect(await code(rooms.registry.create('default', { id: 'thief', keys: [keyLine(2)] }))).toBe(
      'KEY_TAKEN',
    )
    expect(await code(rooms.registry.addKey('default', 'pump', { key: keyLine(2) }))).toBe('KEY_TAKEN')
    // For the same device it is a re-issue.
    expect((await issue(2, { publicKey: keyLine(2) })).privateKey).toBeUndefined()
    expect(await stored()).toBe(1)
  })
})

describe('time', () => {
  test('K064: what ended while no master looked is ended at its start; what did not, lasts to its end', async () => {
    await issue(1, { timeout: 1_000 })
    const { lease } = await issue(2, { timeout: 5_000 })
    leases.close()
    clock += 2_000
    const again = await master()
    await swept(again)
    expect([await stored(), again.size]).toEqual([1, 1])
    clock += 3_000
    await swept(again)
    expect([await stored(), slaves.one().standing.size]).toEqual([0, 0])
    expect(events.filter(({ type }) => type === 'lease.expired').map(({ data }) => data.lease)).toContain(
      lease.id,
    )
  })

  test('K091: the time of a replaced or extended lease means nothing', async () => {
    await issue(1, { timeout: 1_000 })
    const second = await issue(1, { timeout: 10_000 })
    const third = await issue(2, { timeout: 1_000 })
    await leases.extend('default', third.lease.id, '10s', 't1')
    clock += 1_500
    await swept()
    expect([...slaves.one().standing.keys()].sort()).toEqual([second.lease.id, third.lease.id].sort())
  })

  test('an end whose slave is away stands in the store, and the slave hears of it with its welcome', async () => {
    const { lease } = await issue(1, { timeout: 1_000 })
    await issue(2)
    slaves.one().reachable = false
    clock += 1_000
    await swept()
    expect(await stored()).toBe(1)
    expect((await leases.grantsOf('eu-1'))?.map(({ lease: id }) => id)).not.toContain(lease.id)
  })

  test('a store that does not answer at the end is asked again, and the key is refused meanwhile', async () => {
    await issue(1, { timeout: 1_000, publicKey: keyLine(1) })
    const get = rooms.store.get.bind(rooms.store)
    rooms.store.get = () => Promise.reject(new Error('away'))
    clock += 1_000
    leases.sweep()
    expect(await who(1)).toMatchObject({ outcome: 'refused', code: 'LEASE_EXPIRED' })
    await expect.poll(() => leases.backlog).toBe(0)
    rooms.store.get = get
    await expect.poll(async () => stored(), { timeout: 5_000 }).toBe(0)
  })

  test('the slave is told what is left, not when it ends', async () => {
    const { lease } = await issue(1, { timeout: 30_000 })
    clock += 10_000
    expect(await leases.grantsOf('eu-1')).toEqual([
      {
        project: 'default',
        device: mac(1),
        lease: lease.id,
        fingerprint: lease.fingerprint,
        port: lease.port,
        remainingMs: 20_000,
      },
    ])
  })

  test('due ones come earliest first, however they were put in', () => {
    const ends = new LeaseEnds()
    for (const at of [5, 1, 4, 1, 3, 9, 2]) ends.add(`l${at}`, at)
    expect([...ends.due(4)].map(({ at }) => at)).toEqual([1, 1, 2, 3, 4])
    expect(ends.size).toBe(2)
  })
})

test('K005 K006: REST is at 8080, and anywhere else by a flag or the environment', () => {
  const read = (env: Record<string, string>, flags: Record<string, string[]> = {}) =>
    loadConfig({ listen: masterOptions.listen }, { flags, env }).listen
  expect(read({})).toEqual({ host: '127.0.0.1', port: 8_080 })
  expect(read({ SSHOAL_LISTEN: '0.0.0.0:18080' })).toEqual({ host: '0.0.0.0', port: 18_080 })
})

describe('who is this key?', () => {
  test('C04 C05: a lease of this very slave, with one port and what is left; elsewhere it is told where', async () => {
    slaves.add('us-1', { tunnels: 100 })
    const { lease } = await issue(1, { publicKey: keyLine(1) })
    expect(await who(1)).toEqual({
      outcome: 'known',
      identity: {
        device: {
          project: 'default',
          device: mac(1),
          lease: lease.id,
          ports: [lease.port],
          maxForwards: 1,
          remainingMs: 60_000,
        },
      },
      cacheMs: 0,
      staleMs: 0,
      addressBound: false,
    })
    expect(await who(1, 'us-1')).toMatchObject({
      outcome: 'refused',
      code: 'LEASE_ELSEWHERE',
      reason: expect.stringContaining('slave eu-1'),
    })
    expect(await who(9)).toBeUndefined()
    await leases.revoke('default', lease.id, 't1')
    expect(await who(1)).toBeUndefined()
  })

  test('while leases cannot be read the hook’s yes counts, and its no is an outage', async () => {
    const broken = { who: () => Promise.reject(new Error('away')) }
    const question = { publicKey: blob(1), username: 'x', remoteAddress: '', slave: 'eu-1' }
    const refused = { outcome: 'refused', code: 'KEY_UNKNOWN', reason: '' } as const
    const known = { outcome: 'known', identity: {}, cacheMs: 0, staleMs: 0, addressBound: false } as const
    expect(await withLeases(broken, async () => refused)(question)).toMatchObject({ outcome: 'outage' })
    expect(await withLeases(broken, async () => known)(question)).toBe(known)
    expect(await withLeases(leases, async () => refused)(question)).toBe(refused)
  })

  test('a master that shares its store knows what another issued a moment ago', async () => {
    const other = await master({ shared: true })
    await issue(1, { publicKey: keyLine(1) })
    expect(await who(1, 'eu-1', other)).toMatchObject({ outcome: 'known' })
    const grants = await other.grantsOf('eu-1')
    expect(grants).toMatchObject([{ fingerprint: fingerprint(1) }])
  })
})

describe('slaves', () => {
  test('a lost slave’s leases are stranded; a new one goes elsewhere', async () => {
    const { lease } = await issue(1)
    expect(leases.stateOf(lease)).toBe('active')
    slaves.all.delete('eu-1')
    leases.onEvent({ type: 'slave.lost', data: { slave: 'eu-1' } })
    expect(leases.stateOf(lease)).toBe('stranded')
    expect(events.at(-1)).toMatchObject({ type: 'lease.stranded', data: { lease: lease.id } })
    slaves.add('eu-2')
    const next = await issue(1)
    expect(next.lease.slave).toBe('eu-2')
    expect(await stored()).toBe(1)
  })

  test('the less busy slave first, leases counted; a region is kept, the device’s or the one that was asked for', async () => {
    slaves.one().region = 'eu'
    slaves.add('us-1', { region: 'us' })
    const where = (await Promise.all([1, 2, 3, 4].map((n) => issue(n)))).map(({ lease }) => lease.slave)
    expect(where.toSorted()).toEqual(['eu-1', 'eu-1', 'us-1', 'us-1'])
    await rooms.registry.create('default', { id: 'pump', region: 'us' })
    const pump = { device: 'pump', macaddress: undefined }
    expect((await issue(0, pump)).lease.slave).toBe('us-1')
    expect((await issue(0, { ...pump, region: 'eu' })).lease.slave).toBe('eu-1')
    expect(await code(issue(0, { ...pump, region: 'mars' }))).toBe('NO_SLAVE')
  })

  test('a port that was lost is noted and said once; the next lease of the device is as good as new', async () => {
    const { lease } = await issue(1, { publicKey: keyLine(1) })
    await leases.portLost(blob(1), 'EADDRINUSE')
    await leases.portLost(blob(1), 'EADDRINUSE')
    expect(events.filter(({ type }) => type === 'lease.port-lost')).toHaveLength(1)
    expect(leases.stateOf(await leases.get('default', lease.id))).toBe('port-lost')
    slaves.one().occupied.add(lease.port)
    const next = await issue(1, { publicKey: keyLine(1) })
    expect(next.lease.port).not.toBe(lease.port)
    expect(leases.stateOf(next.lease)).toBe('active')
  })
})
