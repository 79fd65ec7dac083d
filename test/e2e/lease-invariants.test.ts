// Random lives of leases: issued, used, extended, revoked, expired, with masters and slaves that restart in between. The real
// rooms of master and slave, in one process, on the real store; time is the test's, so that an hour passes in a moment.

import { parsePublicKeyLine, silentLog, type Identity } from '@sshoal/shared'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import type { LeaseSlave, LeaseSlaves } from '../../packages/master/src/leases/lease-slaves.ts'
import type { Lease } from '../../packages/master/src/leases/lease.ts'
import { Leases } from '../../packages/master/src/leases/leases.ts'
import { Registry } from '../../packages/master/src/registry/registry.ts'
import { openLmdbStore } from '../../packages/master/src/store/lmdb-store.ts'
import type { Store } from '../../packages/master/src/store/store.ts'
import { Identities } from '../../packages/slave/src/identities.ts'
import { Leases as SlaveLeases } from '../../packages/slave/src/leases.ts'
import { Ports } from '../../packages/slave/src/ports.ts'
import { makeFolder } from '../kit/index.ts'

const RANGE = { first: 20_000, last: 20_003 }
const DEVICES = 6
const log = silentLog()

type Ask = ConstructorParameters<typeof Identities>[0]['ask']

/** A slave with its ports, its leases and the tunnels that leases hold. */
class TestSlave {
  readonly id: string
  readonly ask: Ask
  ports = new Ports(RANGE)
  leases: SlaveLeases
  identities: Identities
  /** Lease id → its port: what stands. */
  tunnels = new Map<string, number>()
  linked = true

  constructor(id: string, ask: Ask) {
    this.id = id
    this.ask = ask
    this.leases = this.#make()
    this.identities = this.#recognise()
  }

  restart(): void {
    this.leases.close()
    this.tunnels = new Map()
    this.ports = new Ports(RANGE)
    this.leases = this.#make()
    this.identities = this.#recognise()
  }

  #make(): SlaveLeases {
    return new SlaveLeases({
      ports: this.ports,
      canListen: async () => true,
      cut: ({ lease, port, fingerprint }) => {
        // Invariant 7: key refused, tunnel cut, port free, in this order.
        expect(this.leases.identityOf(fingerprint)?.device?.lease).not.toBe(lease)
        expect(this.ports.isFree(port)).toBe(false)
        return this.tunnels.delete(lease)
      },
      draining: () => false,
      log,
    })
  }

  #recognise(): Identities {
    return new Identities({ ask: this.ask, leases: this.leases, log })
  }
}

class World {
  readonly store: Store
  readonly slaves: TestSlave[]
  /** What a device was given: its newest lease. */
  readonly given = new Map<number, { lease: Lease; publicKey: string }>()
  leases!: Leases
  registry!: Registry
  masterUp = false

  constructor(store: Store) {
    this.store = store
    const who: Ask = async (question) => {
      if (!this.masterUp) throw new Error('no master')
      const answer = await this.leases.who({ ...question, slave: this.slaveOf(question.remoteAddress).id })
      return answer ?? { outcome: 'refused', code: 'KEY_UNKNOWN', reason: '' }
    }
    this.slaves = ['s1', 's2'].map((id) => new TestSlave(id, who))
  }

  slaveOf(id: string): TestSlave {
    const slave = this.slaves.find((one) => one.id === id)
    if (!slave) throw new Error(`no slave ${id}`)
    return slave
  }

  #slaves(): LeaseSlaves {
    const describe = ({ id, leases }: TestSlave): LeaseSlave => ({
      id,
      host: id,
      sshPort: 22,
      hostKeys: [],
      visitHost: id,
      forwardPorts: RANGE,
      tunnels: leases.size,
      capacity: 4,
    })
    const linked = (id: string): TestSlave => {
      const slave = this.slaveOf(id)
      if (!slave.linked) throw new Error('LINK_LOST')
      return slave
    }
    return {
      candidates: () => this.slaves.filter((slave) => slave.linked).map(describe),
      get: (id) => describe(this.slaveOf(id)),
      grant: async (id, question) => linked(id).leases.grant(question),
      end: async (id, lease, refusal) => linked(id).leases.end(lease, refusal),
    }
  }

  async startMaster(): Promise<void> {
    const { store } = this
    const cluster = { invalidate: async () => 0, fixedPortsChanged: () => {} }
    this.registry = new Registry({ store, cluster, log, authority: 'store' })
    this.leases = new Leases({
      store,
      registry: this.registry,
      slaves: this.#slaves(),
      announce: () => {},
      publish: () => {},
      log,
      maxMs: 3_600_000,
      shared: false,
      now: () => Date.now(),
      count: () => {},
      countRefused: () => {},
    })
    await this.leases.start()
    this.masterUp = true
    for (const slave of this.slaves) if (slave.linked) await this.welcome(slave)
    await this.settle()
  }

  stopMaster(): void {
    this.masterUp = false
    this.leases.close()
  }

  async welcome(slave: TestSlave): Promise<void> {
    slave.linked = true
    const grants = this.masterUp ? await this.leases.grantsOf(slave.id) : undefined
    if (grants) slave.leases.replaceAll(grants)
  }

  async settle(): Promise<void> {
    if (!this.masterUp) return
    this.leases.sweep()
    while (this.leases.backlog > 0) await new Promise((resolve) => setImmediate(resolve))
  }

  async login(publicKey: string, slave: TestSlave): Promise<Identity['device'] | undefined> {
    const { base64 } = parsePublicKeyLine(publicKey)
    const answer = await slave.identities.who({ publicKey: base64, username: 'x', remoteAddress: slave.id })
    return answer.outcome === 'known' ? answer.identity.device : undefined
  }
}

type Step = (world: World) => Promise<void>
const number = (max: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: max - 1 })
/** What a dead master, a full slave or a late hour may say; anything else is a fault. */
const EXPECTED = ['NO_PORT', 'NO_SLAVE', 'UNKNOWN_LEASE', 'PORT_TAKEN']

async function allowed(task: () => Promise<unknown>): Promise<void> {
  try {
    await task()
  } catch (error) {
    if (!EXPECTED.includes((error as { code: string }).code)) throw error
  }
}

const issue = fc
  .record({ device: number(DEVICES), seconds: number(60), port: fc.option(fc.integer(), { nil: undefined }) })
  .map(
    ({ device, seconds, port }): Step =>
      (world) =>
        allowed(async () => {
          if (!world.masterUp) return
          const { lease } = await world.leases.request('default', {
            macaddress: `02000000000${device}`,
            timeout: (seconds + 1) * 1_000,
            issuedBy: 't',
            ...(port === undefined ? {} : { port: RANGE.first + (Math.abs(port) % 4) }),
          })
          world.given.set(device, { lease, publicKey: lease.publicKey })
        }),
  )
const use = number(DEVICES).map((device): Step => async (world) => {
  const given = world.given.get(device)
  if (!given) return
  for (const slave of world.slaves) {
    const role = await world.login(given.publicKey, slave)
    if (!role) continue
    // Exactly on its slave, exactly its port, and not a moment too long.
    expect([slave.id, role.lease, role.ports]).toEqual([
      given.lease.slave,
      given.lease.id,
      [given.lease.port],
    ])
    if (role.lease !== undefined) slave.tunnels.set(role.lease, given.lease.port)
  }
})
const useOld = number(DEVICES).map(
  (device): Step =>
    (world) =>
      use_(world, device),
)
async function use_(world: World, device: number): Promise<void> {
  const given = world.given.get(device)
  if (given && given.lease.expiresAt < Date.now() - 1_000)
    for (const slave of world.slaves) expect(await world.login(given.publicKey, slave)).toBeUndefined()
}
const extend = fc.tuple(number(DEVICES), number(60)).map(
  ([device, seconds]): Step =>
    (world) =>
      allowed(async () => {
        const given = world.given.get(device)
        if (!given || !world.masterUp) return
        given.lease = await world.leases.extend('default', given.lease.id, (seconds + 1) * 1_000, 't')
      }),
)
const revoke = number(DEVICES).map(
  (device): Step =>
    (world) =>
      allowed(async () => {
        const given = world.given.get(device)
        if (!given || !world.masterUp) return
        await world.leases.revoke('default', given.lease.id, 't')
        world.given.delete(device)
        const slave = world.slaveOf(given.lease.slave)
        if (slave.linked) expect(await world.login(given.publicKey, slave)).toBeUndefined()
      }),
)
const pass = number(20_000).map((ms): Step => async (world) => {
  await vi.advanceTimersByTimeAsync(ms)
  await world.settle()
})
const restartMaster = fc.constant<Step>(async (world) => {
  if (world.masterUp) world.stopMaster()
  else await world.startMaster()
})
const restartSlave = number(2).map((n): Step => async (world) => {
  const slave = world.slaves[n]
  if (!slave) return
  // One that starts lets nobody in before its welcome.
  if (!world.masterUp) return
  slave.restart()
  await world.welcome(slave)
})
const unlink = number(2).map((n): Step => async (world) => {
  const slave = world.slaves[n]
  if (slave?.linked === true) slave.linked = false
  else if (slave) await world.welcome(slave)
})

async function check(world: World): Promise<void> {
  const { records } = await world.store.scan<Lease>({ kind: 'lease', limit: 1_000 })
  const stored = records.map(({ value }) => value)
  const places = stored.map(({ slave, port }) => `${slave}:${port}`)
  expect(new Set(places).size, 'a port is one lease’s').toBe(places.length)
  expect(new Set(stored.map(({ device }) => device)).size, 'a device has one lease').toBe(stored.length)
  expect(new Set(stored.map(({ fingerprint }) => fingerprint)).size).toBe(stored.length)
  for (const index of ['port', 'device', 'fingerprint'])
    expect(await world.store.claims('lease', index), `${index} claims`).toHaveLength(stored.length)
  if (world.masterUp)
    for (const lease of stored)
      expect(lease.expiresAt, 'nothing outlives its time').toBeGreaterThan(Date.now() - 1_000)
  for (const slave of world.slaves) {
    const ports = new Set<number>()
    for (const [lease, port] of slave.tunnels) {
      expect(slave.leases.stands(lease), 'a tunnel has its lease').toBe(true)
      expect(ports.has(port), 'a port has one tunnel').toBe(false)
      ports.add(port)
    }
    if (!world.masterUp || !slave.linked) continue
    const here = stored.filter((lease) => lease.slave === slave.id && lease.expiresAt > Date.now())
    for (const { id, port } of here) {
      expect(slave.leases.stands(id), 'a linked slave keeps what the store says').toBe(true)
      expect(slave.ports.isFree(port)).toBe(false)
    }
    expect(slave.leases.size, 'and nothing else').toBe(here.length)
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] })
})
afterEach(() => {
  vi.useRealTimers()
})

test('K056 K064 K085 K091 K095: whatever happens in whatever order, the invariants of leases hold', async () => {
  const steps = fc.array(
    fc.oneof(
      { weight: 6, arbitrary: issue },
      { weight: 4, arbitrary: use },
      { weight: 2, arbitrary: useOld },
      { weight: 2, arbitrary: extend },
      { weight: 2, arbitrary: revoke },
      { weight: 4, arbitrary: pass },
      { weight: 2, arbitrary: restartMaster },
      { weight: 1, arbitrary: restartSlave },
      { weight: 4, arbitrary: unlink },
    ),
    { minLength: 5, maxLength: 40 },
  )
  await fc.assert(
    fc.asyncProperty(steps, async (life) => {
      const store = await openLmdbStore(makeFolder())
      const world = new World(store)
      try {
        await world.startMaster()
        for (const step of life) {
          await step(world)
          await check(world)
        }
        // At last everything is back, and everything ends.
        if (!world.masterUp) await world.startMaster()
        for (const slave of world.slaves) await world.welcome(slave)
        await vi.advanceTimersByTimeAsync(61_000)
        await world.settle()
        await check(world)
        expect((await store.scan({ kind: 'lease', limit: 10 })).records).toEqual([])
        for (const { ports, tunnels } of world.slaves) {
          expect(tunnels.size).toBe(0)
          for (let port = RANGE.first; port <= RANGE.last; port++) expect(ports.isFree(port)).toBe(true)
        }
      } finally {
        world.stopMaster()
        await world.registry.close()
        for (const { leases } of world.slaves) leases.close()
        await store.close()
      }
    }),
    { numRuns: 60, interruptAfterTimeLimit: 40_000 },
  )
}, 60_000)
