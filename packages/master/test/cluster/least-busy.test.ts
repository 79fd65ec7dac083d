import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { LeastBusy } from '../../src/cluster/least-busy.ts'
import { selectSlave, type Candidate, type Wish } from '../../src/cluster/select-slave.ts'
import { fakeWire, hello, joinSlave, makeCluster, tunnel } from './fixture.ts'

type Slave = { -readonly [K in keyof Candidate]: Candidate[K] }

const fallback = new Map([
  ['eu', ['us']],
  ['asia', ['eu', 'us']],
])
const facts = {
  region: fc.constantFrom('eu', 'us', undefined),
  state: fc.constantFrom(
    'ready' as const,
    'ready' as const,
    'ready' as const,
    'stale' as const,
    'draining' as const,
  ),
  sshPorts: fc.subarray([22, 443]),
  tunnels: fc.nat(12),
  reserved: fc.nat(5),
  capacity: fc.integer({ min: 1, max: 10 }),
}
const slaves = fc.uniqueArray(fc.record({ id: fc.string({ minLength: 1, maxLength: 3 }), ...facts }), {
  maxLength: 8,
  selector: ({ id }) => id,
})
const wish: fc.Arbitrary<Wish> = fc.record(
  { region: fc.constantFrom('eu', 'us', 'asia', 'nowhere'), port: fc.constantFrom(22, 443) },
  { requiredKeys: [] },
)
/** A slave is changed, or a device asks and what it gets is reserved. */
const step = fc.oneof(
  fc.record({ slave: fc.nat(7), change: fc.record(facts, { requiredKeys: [] }) }),
  fc.record({ wish }),
)

describe('the quick choice', () => {
  test('is the choice of the rule, whatever changes in between', () => {
    fc.assert(
      fc.property(slaves, fc.array(step, { maxLength: 30 }), (all: Slave[], steps) => {
        const quick = new LeastBusy<Slave>(fallback)
        quick.set(all)
        for (const next of steps) {
          if ('wish' in next) {
            const chosen = quick.choose(next.wish)
            expect(chosen).toBe(selectSlave(all, next.wish, fallback))
            if (chosen) {
              chosen.reserved++
              quick.changed(chosen)
            }
          } else {
            const slave = all[next.slave]
            if (!slave) continue
            Object.assign(slave, next.change)
            quick.changed(slave)
          }
        }
      }),
    )
  })

  test('names the first ones in the order in which the rule would choose them', () => {
    fc.assert(
      fc.property(slaves, wish, fc.nat(9), (all: Slave[], asked, count) => {
        const quick = new LeastBusy<Slave>(fallback)
        quick.set(all)
        const expected = new Set<Slave>()
        const region = selectSlave(all, asked, fallback)?.region
        const rest = new Set(all)
        while (expected.size < count) {
          const next = selectSlave([...rest], asked, fallback)
          // The fallback is another question: it begins where the region has none.
          if (!next || (asked.region !== undefined && next.region !== region)) break
          expected.add(next)
          rest.delete(next)
        }
        const ids = [...expected].map(({ id }) => id).sort((a, b) => (a < b ? -1 : 1))
        expect(quick.first(asked, count).map(({ id }) => id)).toEqual(ids)
      }),
    )
  })

  test('forgets a slave that has left', () => {
    const [a, b] = ['a', 'b'].map((id): Slave => ({
      id,
      region: 'eu',
      state: 'ready',
      sshPorts: [22],
      tunnels: 0,
      reserved: 0,
      capacity: 9,
    }))
    const quick = new LeastBusy<Slave>(fallback)
    if (!a || !b) throw new Error('no slaves')
    quick.set([a, b])
    quick.set([b])
    quick.changed(a)
    expect(quick.choose({})).toBe(b)
    expect(quick.all).toEqual([b])
  })
})

const one = fc.nat(3)
const happening = fc.oneof(
  fc.record({ slave: one, type: fc.constantFrom('up', 'arrive', 'down'), device: fc.nat(5) }),
  fc.record({
    slave: one,
    type: fc.constantFrom('drain', 'ready', 'lose', 'bye', 'relink', 'follow', 'silent', 'heard', 'slot'),
  }),
)

test('in a living cluster nothing that a choice looks at changes unseen', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 40 }), (happenings) => {
      const made = makeCluster({ regionFallback: fallback })
      const { cluster } = made
      const { roster, live } = cluster
      const records = ['a', 'b', 'c', 'd'].map(
        (id, n) => joinSlave(made, id, { region: n < 2 ? 'eu' : 'us', capacity: n + 2 }).record,
      )
      let epoch = 1
      for (const { slave: n, type, ...more } of happenings) {
        const record = records[n]
        if (!record) continue
        const device = `d${'device' in more ? more.device : 0}`
        const again = hello(record.id, { region: 'eu', capacity: 1 + (epoch % 4) })
        const link = `l${++epoch}`
        if (type === 'up') live.up(record, tunnel(device, epoch), { announced: true })
        else if (type === 'arrive') live.up(record, tunnel(device, epoch), { announced: false })
        else if (type === 'down') {
          const stands = live.get(`default\0${device}`)
          if (stands) live.down(stands.slave, stands.holder(), stands.epoch, 'over')
        } else if (type === 'drain' || type === 'ready') roster.drainingChanged(record, type === 'drain')
        else if (type === 'lose' || type === 'bye')
          roster.left(record, record.link, type === 'bye' ? 'bye' : undefined)
        else if (type === 'relink') {
          record.relink(again, link, fakeWire().wire, '192.0.2.1')
          roster.joined(record)
        } else if (type === 'follow' || type === 'silent') {
          record.follow('m2', link, { ...record.facts(), hello: again, state: 'ready' })
          if (type === 'silent') roster.silent(new Set([record.id]))
        } else if (type === 'heard') roster.silent(new Set())
        else void cluster.slot({ region: 'eu' })
        for (const wish of [{}, { region: 'eu' }, { region: 'asia' }, { port: 2_222 }])
          expect(roster.leastBusy.choose(wish)).toBe(selectSlave(roster.joinedSlaves, wish, fallback))
      }
      cluster.close()
    }),
  )
})
