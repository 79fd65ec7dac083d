import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { selectSlave, type Candidate } from '../../src/cluster/select-slave.ts'

function candidate(id: string, more: Partial<Candidate> = {}): Candidate {
  return {
    id,
    region: undefined,
    state: 'ready',
    sshPorts: [2_222],
    tunnels: 0,
    reserved: 0,
    capacity: 100,
    ...more,
  }
}

const none = new Map<string, string[]>()
const pick = (slaves: Candidate[], wish = {}, fallback: ReadonlyMap<string, string[]> = none) =>
  selectSlave(slaves, wish, fallback)?.id

interface Row {
  name: string
  slaves: Candidate[]
  wish?: { region?: string; port?: number }
  fallback?: ReadonlyMap<string, string[]>
  chosen: string | undefined
}

const eu = { region: 'eu' }
const us = { region: 'us' }
const rows: Row[] = [
  { name: 'T009: without slaves there is none', slaves: [], chosen: undefined },
  {
    name: 'T005: reservations count like tunnels',
    slaves: [candidate('a', { tunnels: 1, reserved: 2 }), candidate('b', { tunnels: 2 })],
    chosen: 'b',
  },
  {
    name: 'a slave with twice the capacity takes twice as many',
    slaves: [candidate('a', { tunnels: 10 }), candidate('b', { tunnels: 19, capacity: 200 })],
    chosen: 'b',
  },
  {
    name: 'T010: only slaves of the region are candidates',
    slaves: [candidate('a', us), candidate('b', { ...eu, tunnels: 50 })],
    wish: eu,
    chosen: 'b',
  },
  {
    name: 'T010: without a region all are candidates',
    slaves: [candidate('a', eu), candidate('b', us)],
    chosen: 'a',
  },
  {
    name: 'T011: a region without slaves has none',
    slaves: [candidate('a', us)],
    wish: eu,
    chosen: undefined,
  },
  {
    name: 'T012: tunnels elsewhere do not disturb the counts of the region',
    slaves: [
      candidate('x', { ...us, tunnels: 99 }),
      candidate('a', { ...eu, tunnels: 2 }),
      candidate('b', { ...eu, tunnels: 1 }),
    ],
    wish: eu,
    chosen: 'b',
  },
  {
    name: 'T013: a slave without a region is in none',
    slaves: [candidate('a')],
    wish: eu,
    chosen: undefined,
  },
  {
    name: 'T014: of equals the first by id',
    slaves: [candidate('b'), candidate('a'), candidate('c')],
    chosen: 'a',
  },
  {
    name: 'T014: of equals first the one with fewer reservations',
    slaves: [candidate('a', { reserved: 1 }), candidate('b', { tunnels: 1 })],
    chosen: 'b',
  },
  {
    name: 'the fallback is tried in its order when the region has none',
    slaves: [candidate('a', { region: 'asia' }), candidate('b', { ...us, tunnels: 90 })],
    wish: eu,
    fallback: new Map([['eu', ['us', 'asia']]]),
    chosen: 'b',
  },
  {
    name: 'the fallback is not tried while the region has one',
    slaves: [candidate('a', us), candidate('b', { ...eu, tunnels: 99 })],
    wish: eu,
    fallback: new Map([['eu', ['us']]]),
    chosen: 'b',
  },
  {
    name: 'the fallback is tried when the region’s slaves are full',
    slaves: [candidate('a', us), candidate('b', { ...eu, tunnels: 100 })],
    wish: eu,
    fallback: new Map([['eu', ['us']]]),
    chosen: 'a',
  },
  {
    name: 'a fallback is not followed twice',
    slaves: [candidate('a', { region: 'asia' })],
    wish: eu,
    fallback: new Map([
      ['eu', ['us']],
      ['us', ['asia']],
    ]),
    chosen: undefined,
  },
  {
    name: 'a port asks for a slave that is reached there',
    slaves: [candidate('a'), candidate('b', { sshPorts: [2_222, 443], tunnels: 50 })],
    wish: { port: 443 },
    chosen: 'b',
  },
  { name: 'nobody is reached on the port', slaves: [candidate('a')], wish: { port: 443 }, chosen: undefined },
  {
    name: 'full, draining and stale slaves get nothing',
    slaves: [
      candidate('a', { tunnels: 100 }),
      candidate('b', { tunnels: 101 }),
      candidate('c', { state: 'draining' }),
      candidate('d', { state: 'stale' }),
    ],
    chosen: undefined,
  },
  {
    name: 'a reservation orders slaves, it never makes one full',
    slaves: [candidate('a', { tunnels: 99, reserved: 500 })],
    chosen: 'a',
  },
]

describe('the choice', () => {
  test.each(rows)('$name', ({ slaves, wish = {}, fallback = none, chosen }) => {
    expect(pick(slaves, wish, fallback)).toBe(chosen)
  })

  test('T007: ten slots on two empty slaves go 5/5', () => {
    const slaves = [candidate('a'), candidate('b')]
    for (let slot = 0; slot < 10; slot++) {
      const chosen = selectSlave(slaves, {}, none)
      if (chosen) chosen.reserved++
    }
    expect(slaves.map(({ reserved }) => reserved)).toEqual([5, 5])
  })

  const some = fc.uniqueArray(
    fc.record({
      id: fc.string({ minLength: 1, maxLength: 3 }),
      region: fc.constantFrom('eu', 'us', undefined),
      state: fc.constantFrom('ready' as const, 'ready' as const, 'stale' as const, 'draining' as const),
      sshPorts: fc.subarray([22, 443]),
      tunnels: fc.nat(12),
      reserved: fc.nat(5),
      capacity: fc.integer({ min: 1, max: 10 }),
    }),
    { maxLength: 8, selector: ({ id }) => id },
  )

  test('the chosen one fits, nobody who fits is less busy, and the order of the list does not matter', () => {
    const wishes = fc.record(
      { region: fc.constantFrom('eu', 'us'), port: fc.constantFrom(22, 443) },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(some, wishes, (slaves, wish) => {
        const fits = slaves.filter(
          (slave) =>
            slave.state === 'ready' &&
            slave.tunnels < slave.capacity &&
            (wish.region === undefined || slave.region === wish.region) &&
            (wish.port === undefined || slave.sshPorts.includes(wish.port)),
        )
        const share = (slave: Candidate): number => (slave.tunnels + slave.reserved) / slave.capacity
        const chosen = selectSlave(slaves, wish, none)
        expect(chosen === undefined).toBe(fits.length === 0)
        if (chosen) expect(share(chosen)).toBe(Math.min(...fits.map(share)))
        if (chosen) expect(fits).toContain(chosen)
        expect(selectSlave(slaves.toReversed(), wish, none)).toBe(chosen)
      }),
    )
  })
})
