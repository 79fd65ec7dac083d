import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'

import { SlaveRecord } from '../../src/cluster/slave-record.ts'
import { bound, fakeWire, hello, joinSlave, makeCluster, tunnel, type TestCluster } from './fixture.ts'

const a = { project: 'default', device: 'a' }
const up = { announced: false }
const announced = { announced: true }

afterEach(() => vi.useRealTimers())

function stands({ cluster }: TestCluster, device = 'a'): string | undefined {
  const view = cluster.tunnelOf({ project: 'default', device })
  return view && `${view.slave}:${view.epoch}`
}

describe('one tunnel per holder', () => {
  test('T020: what is up is in the view, until it is down', () => {
    const test = makeCluster()
    const { record } = joinSlave(test, 's1', { forwardAddress: '0.0.0.0' })
    test.cluster.live.up(record, tunnel('a', 5, { details: { site: 'x' } }), up)
    expect(test.cluster.tunnelOf(a)).toEqual({
      device: 'a',
      project: 'default',
      slave: 's1',
      host: 's1.example',
      forwards: [{ kind: 'bound', bindAddress: '', bindPort: 0, port: 20_001, address: 's1.example:20001' }],
      remoteAddress: '192.0.2.1',
      fingerprint: 'SHA256:a',
      connectedAt: '2023-11-14T22:13:20.000Z',
      epoch: 5,
      details: { site: 'x' },
    })
    test.cluster.live.down(record, a, 5, 'left')
    expect(test.cluster.tunnelOf(a)).toBeUndefined()
    expect(test.eventsOf('tunnel.down')).toMatchObject([{ device: 'a', epoch: 5, reason: 'left' }])
  })

  test('T097: a down from a slave that no longer holds the device, or of an older epoch, changes nothing', () => {
    const test = makeCluster()
    const s1 = joinSlave(test, 's1')
    const s2 = joinSlave(test, 's2')
    test.cluster.live.up(s1.record, tunnel('a', 5), up)
    test.cluster.live.up(s2.record, tunnel('a', 6), up)
    test.cluster.live.down(s1.record, a, 5, 'late')
    test.cluster.live.down(s1.record, a, 6, 'wrong slave')
    test.cluster.live.down(s2.record, a, 5, 'older')
    test.cluster.live.changed(s1.record, a, 5, [])
    test.cluster.live.changed(s2.record, a, 5, [])
    expect(stands(test)).toBe('s2:6')
    expect(test.cluster.tunnelOf(a)?.forwards).toHaveLength(1)
    expect(test.cluster.counters.dropped).toBe(5)
  })

  test('the older slave is told to let go, and a contested take-over is noted', async () => {
    const test = makeCluster()
    const s1 = joinSlave(test, 's1', {}, { yield: { cut: true, contested: true } })
    const s2 = joinSlave(test, 's2', {}, { probe: { alive: true }, yield: { cut: true, contested: true } })
    for (let epoch = 1; epoch <= 4; epoch++)
      test.cluster.live.up(epoch % 2 ? s1.record : s2.record, tunnel('a', epoch), up)
    expect(s1.asked).toMatchObject([
      ['yield', { device: 'a', epoch: 2 }],
      ['yield', { device: 'a', epoch: 4 }],
    ])
    expect(test.eventsOf('tunnel.moved')).toHaveLength(3)
    await Promise.resolve()
    await Promise.resolve()
    const question = { ...a, fingerprint: '', remoteAddress: '198.51.100.1', incumbent: 0 }
    await expect(test.cluster.admission.admit(s1.record, question)).resolves.toMatchObject({
      code: 'DEVICE_CLONED',
    })
    expect(test.eventsOf('device.cloned')).toMatchObject([{ addresses: ['192.0.2.1', '198.51.100.1'] }])
    expect(stands(test)).toBe('s2:4')
  })

  test('a silent incumbent always loses, disputed or not', async () => {
    const test = makeCluster()
    for (const probe of [{ alive: false }, new Error('gone')]) {
      const s1 = joinSlave(test, 's1', {}, { probe })
      for (let i = 0; i < 3; i++) test.cluster.admission.contested(s1.record, a, '192.0.2.2', '192.0.2.1')
      test.cluster.live.up(s1.record, tunnel('a', 5), up)
      const question = { ...a, fingerprint: '', remoteAddress: '', incumbent: 0 }
      await expect(test.cluster.admission.admit(s1.record, question)).resolves.toMatchObject({
        outcome: 'admitted',
      })
    }
  })

  test('of two with one epoch the greater slave id stands, in whichever order they come', () => {
    for (const order of [
      ['s1', 's2'],
      ['s2', 's1'],
    ]) {
      const test = makeCluster()
      for (const id of order) test.cluster.live.up(joinSlave(test, id).record, tunnel('a', 5), up)
      expect(stands(test)).toBe('s2:5')
    }
  })

  test('a device and its leases are different holders', () => {
    const test = makeCluster()
    const { record } = joinSlave(test, 's1')
    test.cluster.live.up(record, tunnel('a', 1), up)
    test.cluster.live.up(record, tunnel('a', 2, { lease: 'l' }), up)
    expect(test.cluster.tunnels({ device: 'a', limit: 10 }).tunnels).toHaveLength(2)
    expect(test.cluster.count('default')).toBe(2)
  })

  test('an epoch is above the last one of the holder, above our own last, and at least now', async () => {
    const test = makeCluster()
    const { record } = joinSlave(test, 's1')
    const question = { ...a, fingerprint: '', remoteAddress: '', incumbent: 0 }
    const epochs: number[] = []
    const ask = async (incumbent: number): Promise<void> => {
      const answer = await test.cluster.admission.admit(record, { ...question, incumbent })
      if (answer.outcome === 'admitted') epochs.push(answer.epoch)
    }
    const now = Date.now() * 1_000
    await Promise.all([ask(0), ask(0), ask(0)])
    expect(epochs[0]).toBeGreaterThanOrEqual(now)
    await ask(now + 10_000_000_000)
    test.cluster.live.up(record, tunnel('z', now + 90_000_000_000), announced)
    await ask(0)
    expect(epochs).toEqual(epochs.toSorted((x, y) => x - y))
    expect(new Set(epochs).size).toBe(5)
    expect(epochs[4]).toBeGreaterThan(now + 90_000_000_000)
  })
})

describe('slots', () => {
  test('T007, T008: ten slots go 5/5, and an arrival is not counted beside its slot', async () => {
    const test = makeCluster()
    const slaves = [joinSlave(test, 's1'), joinSlave(test, 's2')]
    const given = []
    for (let slot = 0; slot < 10; slot++) given.push((await test.cluster.slot({}))?.slave)
    expect(given.filter((id) => id === 's1')).toHaveLength(5)
    expect(test.cluster.view().totals).toEqual({ slaves: 2, tunnels: 0, reserved: 10 })
    test.cluster.live.up(slaves[0]!.record, tunnel('a', 1), up)
    expect(test.cluster.view().slaves).toMatchObject([
      { tunnels: 1, reserved: 4 },
      { tunnels: 0, reserved: 5 },
    ])
    test.cluster.live.up(slaves[0]!.record, tunnel('b', 1), announced)
    expect(test.cluster.view().slaves[0]).toMatchObject({ tunnels: 2, reserved: 4 })
  })

  test('T015: the reservations of a slave go with it', async () => {
    const test = makeCluster()
    const { record } = joinSlave(test, 's1')
    await test.cluster.slot({})
    test.cluster.roster.left(record, record.link, 'bye')
    joinSlave(test, 's1')
    expect(test.cluster.view().slaves).toMatchObject([{ reserved: 0 }])
  })

  test('T004, T009: a slot names the slave’s real port; without a slave there is none', async () => {
    const test = makeCluster()
    expect(await test.cluster.slot({})).toBeUndefined()
    joinSlave(test, 's1', { sshPorts: [2_222, 443] })
    expect(await test.cluster.slot({})).toMatchObject({
      slave: 's1',
      host: 's1.example',
      port: 2_222,
      expiresInMs: 2_500,
    })
    expect(await test.cluster.slot({ port: 443 })).toMatchObject({ port: 443 })
    expect(await test.cluster.slot({ port: 80 })).toBeUndefined()
    expect(test.cluster.counters).toMatchObject({ slots: 2, noSlave: 2 })
  })

  test('a slave that names no host is told by its address, unless only the asker knows a name for it', async () => {
    const test = makeCluster()
    const fake = fakeWire()
    const unnamed = { ...hello('s1') }
    delete unnamed.publicHost
    const record = new SlaveRecord(unnamed, 'l', fake.wire, '203.0.113.5')
    test.cluster.roster.joined(record)
    expect((await test.cluster.slot({}))?.host).toBe('203.0.113.5')
    record.relink(unnamed, 'l2', fake.wire, '127.0.0.1')
    expect((await test.cluster.slot({}))?.host).toBeNull()
  })
})

describe('slaves that go', () => {
  test('T115, T116: the grace over, a lost slave and all its tunnels are gone', () => {
    vi.useFakeTimers()
    const test = makeCluster()
    const { record } = joinSlave(test, 's1')
    for (const device of ['a', 'b', 'c']) test.cluster.live.up(record, tunnel(device, 1), up)
    test.cluster.roster.left(record, 'an older link', undefined)
    expect(record.state).toBe('ready')
    test.cluster.roster.left(record, record.link, undefined)
    vi.advanceTimersByTime(2_999)
    expect(test.cluster.view()).toMatchObject({
      totals: { slaves: 1, tunnels: 3 },
      slaves: [{ state: 'stale' }],
    })
    vi.advanceTimersByTime(1)
    expect(test.cluster.view().totals).toEqual({ slaves: 0, tunnels: 0, reserved: 0 })
    expect(test.eventsOf('tunnel.down')).toHaveLength(3)
    expect(test.cluster.count('default')).toBe(0)
  })

  test('each loss gets the whole grace, also when a new link breaks before it was welcome', () => {
    vi.useFakeTimers()
    const test = makeCluster()
    const { record } = joinSlave(test, 's1')
    test.cluster.roster.left(record, record.link, undefined)
    vi.advanceTimersByTime(2_000)
    record.relink(hello('s1'), 'second', fakeWire().wire, '127.0.0.1')
    test.cluster.roster.left(record, 'second', undefined)
    vi.advanceTimersByTime(2_999)
    expect(test.cluster.size.slaves).toBe(1)
    vi.advanceTimersByTime(1)
    expect(test.cluster.size.slaves).toBe(0)
  })

  test('a tunnel that moved away before is not lost with its old slave', () => {
    const test = makeCluster()
    const s1 = joinSlave(test, 's1')
    const s2 = joinSlave(test, 's2')
    test.cluster.live.up(s1.record, tunnel('a', 1), up)
    test.cluster.live.up(s2.record, tunnel('a', 2), up)
    test.cluster.roster.left(s1.record, s1.record.link, 'bye')
    expect(stands(test)).toBe('s2:2')
    expect(test.eventsOf('tunnel.down')).toEqual([])
  })
})

describe('a snapshot', () => {
  test('what it does not name is gone, and so is what it names with another epoch', () => {
    const test = makeCluster()
    const { record } = joinSlave(test, 's1')
    for (const device of ['a', 'b', 'c']) test.cluster.live.up(record, tunnel(device, 9), up)
    expect(test.cluster.live.up(record, tunnel('b', 5), announced)).toMatchObject({
      reason: expect.any(String) as string,
    })
    test.cluster.live.keepOnly(
      record,
      new Map([
        ['default\0b', 5],
        ['default\0c', 9],
      ]),
    )
    expect(['a', 'b', 'c'].map((device) => stands(test, device))).toEqual([undefined, undefined, 's1:9'])
  })
})

describe('what operators ask', () => {
  test('T099, T100: a kick cuts the tunnel it means; an unknown device is a clear no', async () => {
    const test = makeCluster()
    const { record, asked } = joinSlave(test, 's1')
    test.cluster.live.up(record, tunnel('a', 5), up)
    await expect(test.cluster.kick(a, 'by hand')).resolves.toBe(true)
    expect(asked).toEqual([['cut', { ...a, epoch: 5, reason: 'by hand' }]])
    await expect(test.cluster.kick({ ...a, device: 'nobody' }, 'x')).resolves.toBe(false)
  })

  test('a slave that is not linked cannot be drained', async () => {
    const test = makeCluster()
    await expect(test.cluster.drain('s1', 1_000)).rejects.toMatchObject({ code: 'UNKNOWN_SLAVE' })
    joinSlave(test, 's1', {}, { drain: { tunnels: 4 } })
    await expect(test.cluster.drain('s1', 1_000)).resolves.toEqual({ tunnels: 4 })
  })

  test('tunnels are found by slave, region, project and device', () => {
    const test = makeCluster()
    const s1 = joinSlave(test, 's1', { region: 'eu' })
    const s2 = joinSlave(test, 's2')
    test.cluster.live.up(s1.record, tunnel('a', 1), up)
    test.cluster.live.up(s1.record, tunnel('b', 1, { project: 'p2' }), up)
    test.cluster.live.up(s2.record, tunnel('c', 1), up)
    const find = (filter: object) =>
      test.cluster
        .tunnels({ limit: 10, ...filter })
        .tunnels.map(({ device }) => device)
        .sort()
    expect(find({})).toEqual(['a', 'b', 'c'])
    expect(find({ slave: 's1' })).toEqual(['a', 'b'])
    expect(find({ slave: 'nobody' })).toEqual([])
    expect(find({ region: 'eu' })).toEqual(['a', 'b'])
    expect(find({ project: 'p2' })).toEqual(['b'])
    expect(find({ project: 'p2', device: 'a' })).toEqual([])
    expect(find({ device: 'b' })).toEqual(['b'])
    expect(find({ device: 'b', slave: 's2' })).toEqual([])
  })
})

// Invariants 1 and 8 of requirements 6.4: slaves with their own tables whose messages reach the master late, over links
// that break and come back. Compared with a model after every step, with the slaves' tables when all is quiet.
const DEVICES = ['a', 'b', 'c']
const IDS = ['s1', 's2', 's3']

class ModelSlave {
  readonly id: string
  readonly test: TestCluster
  /** What it really holds. */
  readonly table = new Map<string, { epoch: number; forwards: number }>()
  /** What it has told and the master has not yet read. */
  mail: (() => void)[] = []
  record: SlaveRecord | undefined
  link = 0
  /** Looks at the view after every message, also where a step brings several. */
  readonly look: () => void

  constructor(id: string, test: TestCluster, look: () => void) {
    this.id = id
    this.test = test
    this.look = look
  }

  get linkId(): string {
    return `${this.id}/${this.link}`
  }

  wire() {
    return fakeWire({}).wire
  }

  tell(message: (record: SlaveRecord) => void): void {
    const { record, linkId } = this
    if (!record?.wire) return
    this.mail.push(() => {
      if (record.link === linkId) message(record)
    })
  }

  up(device: string, epoch: number): void {
    const before = this.table.get(device)
    if (before && before.epoch >= epoch) return
    if (before) this.down(device)
    this.table.set(device, { epoch, forwards: 1 })
    this.tell((record) =>
      this.lost(device, epoch, this.test.cluster.live.up(record, tunnel(device, epoch), up)),
    )
  }

  change(device: string): void {
    const held = this.table.get(device)
    if (!held) return
    const forwards = ++held.forwards
    const { epoch } = held
    this.tell((record) =>
      this.test.cluster.live.changed(
        record,
        { project: 'default', device },
        epoch,
        Array.from({ length: forwards }, (_, i) => bound(i + 1)),
      ),
    )
  }

  down(device: string): void {
    const held = this.table.get(device)
    if (!held) return
    this.table.delete(device)
    this.tell((record) =>
      this.test.cluster.live.down(record, { project: 'default', device }, held.epoch, 'down'),
    )
  }

  /** The master says that this tunnel lost. */
  lost(device: string, epoch: number, loss: unknown): void {
    if (loss && (this.table.get(device)?.epoch ?? Infinity) <= epoch) this.down(device)
  }

  read(): void {
    this.mail.shift()?.()
    this.look()
  }

  readAll(): void {
    while (this.mail.length > 0) this.read()
  }

  /** A new link with a snapshot; what the older link still had under way is dropped by its number. */
  connect(): void {
    const { cluster } = this.test
    this.link++
    const greeting = hello(this.id)
    const known = cluster.roster.slave(this.id)
    if (known) known.relink(greeting, this.linkId, this.wire(), '127.0.0.1')
    const record = known ?? new SlaveRecord(greeting, this.linkId, this.wire(), '127.0.0.1')
    this.record = record
    cluster.roster.joining(record)
    const named = new Map<string, number>()
    for (const [device, { epoch, forwards }] of this.table) {
      const wire = tunnel(device, epoch, {
        forwards: Array.from({ length: forwards }, (_, i) => bound(i + 1)),
      })
      named.set(`default\0${device}`, epoch)
      this.lost(device, epoch, cluster.live.up(record, wire, announced))
    }
    cluster.live.keepOnly(record, named)
    cluster.roster.joined(record)
    // What the snapshot ended may begin anew elsewhere, with any epoch.
    this.look()
  }

  disconnect(bye: boolean): void {
    this.readAll()
    if (this.record) this.test.cluster.roster.left(this.record, this.linkId, bye ? 'bye' : undefined)
  }
}

test('invariants 1 and 8: at most one tunnel per holder, its epoch only rises, and at rest the view is the union', () => {
  const device = fc.constantFrom(...DEVICES)
  const slave = fc.nat(IDS.length - 1)
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant('up' as const),
        slave,
        device,
        epoch: fc.integer({ min: 1, max: 12 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constantFrom('down' as const, 'change' as const), slave, device }),
    },
    { weight: 6, arbitrary: fc.record({ do: fc.constant('read' as const), slave }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constantFrom('connect' as const, 'break' as const, 'bye' as const),
        slave,
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('grace' as const) }) },
  )
  vi.useFakeTimers()
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const test = makeCluster()
      const { cluster } = test
      const epochs = new Map<string, number>()
      const look = () => check(test, epochs)
      const slaves = IDS.map((id) => new ModelSlave(id, test, look))
      for (const each of slaves) each.connect()
      for (const one of steps) {
        const target = 'slave' in one ? slaves[one.slave]! : slaves[0]!
        if (one.do === 'up') target.up(one.device, one.epoch)
        else if (one.do === 'down') target.down(one.device)
        else if (one.do === 'change') target.change(one.device)
        else if (one.do === 'read') target.read()
        else if (one.do === 'connect') target.connect()
        else if (one.do === 'grace') vi.advanceTimersByTime(3_000)
        else target.disconnect(one.do === 'bye')
        look()
      }
      // At rest: every link stands, everything was read, every loser was cut.
      for (let round = 0; round < 3; round++) for (const each of slaves) each.connect()
      for (const each of slaves) each.readAll()
      const view = cluster
        .tunnels({ limit: 100 })
        .tunnels.map((t) => `${t.device}@${t.slave}:${t.epoch}/${t.forwards.length}`)
      const newest = DEVICES.flatMap((name) => {
        const [best] = slaves
          .flatMap((each) => {
            const held = each.table.get(name)
            return held ? [{ id: each.id, ...held }] : []
          })
          .sort((x, y) => y.epoch - x.epoch || (x.id < y.id ? 1 : -1))
        return best ? [`${name}@${best.id}:${best.epoch}/${best.forwards}`] : []
      })
      expect(view.sort()).toEqual(newest.sort())
      cluster.close()
    }),
    { numRuns: 400 },
  )
}, 120_000)

/** What must hold after every single message. */
function check(test: TestCluster, epochs: Map<string, number>): void {
  const { cluster } = test
  const { tunnels } = cluster.tunnels({ limit: 100 })
  const seen = new Set(tunnels.map(({ device }) => device))
  expect(seen.size).toBe(tunnels.length)
  for (const { device, epoch } of tunnels) {
    expect(epoch).toBeGreaterThanOrEqual(epochs.get(device) ?? 0)
    epochs.set(device, epoch)
  }
  for (const device of epochs.keys()) if (!seen.has(device)) epochs.delete(device)
  const { totals, slaves } = cluster.view()
  expect(totals.tunnels).toBe(tunnels.length)
  expect(slaves.reduce((sum, slave) => sum + slave.tunnels, 0)).toBe(tunnels.length)
  expect(cluster.count('default')).toBe(tunnels.length)
  for (const { id, tunnels: count } of slaves)
    expect(cluster.tunnels({ slave: id, limit: 100 }).tunnels).toHaveLength(count)
}
