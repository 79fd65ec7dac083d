import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { bestGrant, changeGrant, covers, makeGrant, type Grant } from '../../src/access/grant.ts'
import { mayVisit } from '../../src/access/may-visit.ts'

const NOW = Date.UTC(2030, 0, 1)

function grant(more: Partial<Grant> = {}): Grant {
  const on = { kind: 'pool', id: 'pool-1', name: 'pumps' } as const
  return { ...makeGrant('default', 'user-1', on, {}, NOW), ...more }
}

const POOLS = ['pool-1', 'pool-2', 'pool-3']
const anyGrant = fc
  .record({
    kind: fc.constantFrom('pool', 'target'),
    id: fc.constantFrom(...POOLS, 'target-1', 'target-2'),
    forwards: fc.uniqueArray(fc.constantFrom('22', '80', 'web', '*'), { minLength: 1 }),
    until: fc.option(fc.integer({ min: NOW - 10, max: NOW + 10 }), { nil: undefined }),
  })
  .map(({ kind, id, forwards, until }) =>
    grant({
      on: { kind, id, name: id },
      forwards,
      ...(until === undefined ? {} : { until }),
    }),
  )
const anyQuestion = fc.record({
  port: fc.constantFrom(22, 80, 443),
  forward: fc.option(fc.constantFrom('web', 'ssh'), { nil: undefined }),
})

describe('who may visit', () => {
  test('P068 invariant 4: the union of all grants counts; without one of them exactly what it alone allowed is gone', () => {
    fc.assert(
      fc.property(
        fc.array(anyGrant, { maxLength: 6 }),
        fc.subarray(POOLS),
        anyQuestion,
        (grants, pools, asked) => {
          const may = (of: Grant[]): Grant | undefined =>
            mayVisit({
              grants: of,
              target: { id: 'target-1', gates: [] },
              pools: new Set(pools),
              gates: [],
              region: undefined,
              asked,
              now: NOW,
            })
          const allowing = grants.filter((one) => may([one]))
          expect(may(grants) !== undefined).toBe(allowing.length > 0)
          for (const lost of grants) {
            const rest = grants.filter((one) => one !== lost)
            expect(may(rest) !== undefined).toBe(allowing.some((one) => one !== lost))
          }
        },
      ),
    )
  })

  test('P068: who reaches a target by two pools keeps it when one goes', () => {
    const [first, second] = POOLS.slice(0, 2).map((id) => grant({ on: { kind: 'pool', id, name: id } }))
    const may = (grants: Grant[], pools: string[]) =>
      mayVisit({
        grants,
        target: { id: 'target-1', gates: [] },
        pools: new Set(pools),
        gates: [],
        region: undefined,
        asked: { port: 22 },
        now: NOW,
      })
    if (!first || !second) throw new Error('two grants')
    expect(may([first, second], ['pool-1', 'pool-2'])).toBeDefined()
    expect(may([second], ['pool-1', 'pool-2'])).toBe(second)
    expect(may([first, second], ['pool-2'])).toBe(second)
    expect(may([first, second], [])).toBeUndefined()
  })

  test('a port does not open a forward, and a forward no port', () => {
    expect(covers(grant(), { port: 22 })).toBe(true)
    expect(covers(grant(), { port: 80 })).toBe(false)
    expect(covers(grant(), { port: 22, forward: 'web' })).toBe(false)
    expect(covers(grant({ forwards: ['web'] }), { port: 80, forward: 'web' })).toBe(true)
    expect(covers(grant({ forwards: ['web'] }), { port: 22 })).toBe(false)
    expect(covers(grant({ forwards: ['22'] }), { port: 443, forward: '22' })).toBe(false)
    expect(covers(grant({ forwards: ['*'] }), { port: 5_900, forward: 'vnc' })).toBe(true)
  })

  test('G036: who is attached to gates is reached by slaves of their regions alone', () => {
    const gate = (region?: string) => ({
      id: 'g',
      project: 'default',
      name: 'g',
      host: 'h',
      port: 22,
      createdAt: 0,
      ...(region === undefined ? {} : { region }),
    })
    const may = (gates: ReturnType<typeof gate>[], region: string | undefined) =>
      mayVisit({
        grants: [grant()],
        target: { id: 't', gates: ['g'] },
        pools: new Set(['pool-1']),
        gates,
        region,
        asked: { port: 22 },
        now: NOW,
      }) !== undefined
    expect(may([gate('eu')], 'eu')).toBe(true)
    expect(may([gate('eu')], 'us')).toBe(false)
    expect(may([gate('eu')], undefined)).toBe(false)
    expect(may([gate('eu'), gate('us')], 'us')).toBe(true)
    expect(may([gate()], 'us')).toBe(true)
    // A gate that went away opens nothing.
    expect(may([], 'eu')).toBe(false)
  })

  test('the grant that lasts longest is the one that counts', () => {
    fc.assert(
      fc.property(fc.array(anyGrant, { minLength: 1, maxLength: 6 }), (grants) => {
        const best = bestGrant(grants)
        expect(best?.until ?? Infinity).toBe(Math.max(...grants.map(({ until }) => until ?? Infinity)))
      }),
    )
  })
})

describe('a grant', () => {
  test.each([
    [{ forwards: [] }, 'INVALID_FORWARDS'],
    [{ forwards: ['0'] }, 'INVALID_FORWARDS'],
    [{ forwards: ['65536'] }, 'INVALID_FORWARDS'],
    [{ forwards: ['we b'] }, 'INVALID_FORWARDS'],
    [{ forwards: ['web\nHost *'] }, 'INVALID_FORWARDS'],
    [{ account: '-oProxyCommand=x' }, 'INVALID_ACCOUNT'],
    [{ account: 'root\n  ProxyCommand x' }, 'INVALID_ACCOUNT'],
    [{ account: '%h' }, 'INVALID_ACCOUNT'],
    [{ account: '' }, 'INVALID_ACCOUNT'],
    [{ until: '2029-12-31T00:00:00Z' }, 'INVALID_UNTIL'],
    [{ until: 'tomorrow' }, 'INVALID_UNTIL'],
  ])('G038: %j is refused', (settings, code) => {
    expect(() => changeGrant(grant(), settings, NOW)).toThrowError(expect.objectContaining({ code }))
  })
})
