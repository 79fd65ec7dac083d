// The store on a real Redis: what every store must do, and that several masters at once see the same and never half.
import { randomUUID } from 'node:crypto'

import { silentLog } from '@sshoal/shared'
import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'

import { openLmdbStore } from '../../packages/master/src/store/lmdb-store.ts'
import { parseRedisUrl } from '../../packages/master/src/store/redis-address.ts'
import { openRedisStore } from '../../packages/master/src/store/redis-store.ts'
import { exportStore, importStore } from '../../packages/master/src/store/store-export.ts'
import type { Change, Outcome, RecordRef, Store } from '../../packages/master/src/store/store.ts'
import { describeStore } from '../../packages/master/test/store/store-suite.ts'
import { atEnd, makeFolder } from '../kit/index.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})

const open = (prefix: string) =>
  openRedisStore({ address: parseRedisUrl(redis.url), prefix, log: silentLog(), folder: makeFolder() })

async function openAtEnd(prefix: string): Promise<Store> {
  const store = await open(prefix)
  atEnd(() => store.close())
  return store
}

describeStore('the store in Redis', async () => {
  const prefix = randomUUID()
  return {
    open: () => open(prefix),
    async destroy() {
      await redis.cli('FLUSHALL')
    },
  }
})

test('many masters that open a new store at once make one', async () => {
  const prefix = randomUUID()
  const stores = await Promise.all(Array.from({ length: 8 }, () => openAtEnd(prefix)))
  expect(new Set(stores.map(({ id }) => id)).size).toBe(1)
})

test('of two masters that race for a claim exactly one wins, and the loser hears who', async () => {
  const prefix = randomUUID()
  const [one, two] = [await openAtEnd(prefix), await openAtEnd(prefix)]
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat({ max: 2 }), { minLength: 2, maxLength: 30 }), async (values) => {
      const round = randomUUID()
      const outcomes = await Promise.all(
        values.map(async (value, n) => {
          const store = n % 2 === 0 ? one : two
          const ref = { kind: 'device', project: 'default', id: `${round}-${n}` }
          const claims = [{ index: 'mac', value: `${round}-${value}` }]
          return {
            value,
            id: ref.id,
            outcome: await store.transact([{ type: 'put', ref, value: n, claims }]),
          }
        }),
      )
      for (const value of new Set(values)) {
        const winners = outcomes.filter((each) => each.value === value && each.outcome.done)
        expect(winners).toHaveLength(1)
        for (const { outcome } of outcomes.filter((each) => each.value === value && !each.outcome.done))
          expect(outcome).toMatchObject({ conflict: { reason: 'taken', by: { id: winners[0]?.id } } })
      }
    }),
    { numRuns: 30 },
  )
})

test('changes by compare and set from two masters are never lost', async () => {
  const prefix = randomUUID()
  const stores = [await openAtEnd(prefix), await openAtEnd(prefix)]
  const ref = { kind: 'device', project: 'default', id: 'counter' }
  await stores[0]?.transact([{ type: 'put', ref, value: 0 }])
  const add = async (store: Store): Promise<void> => {
    for (;;) {
      const found = await store.get<number>(ref)
      const change: Change = {
        type: 'put',
        ref,
        value: (found?.value ?? 0) + 1,
        expect: found?.version ?? 'absent',
      }
      if ((await store.transact([change])).done) return
    }
  }
  await Promise.all(stores.flatMap((store) => Array.from({ length: 20 }, () => add(store))))
  expect((await stores[1]?.get(ref))?.value).toBe(40)
})

interface Step {
  /** Which of the two masters asks. */
  master: number
  changes: {
    put: boolean
    kind: string
    project: string
    id: string
    claims: { index: string; value: string; everywhere?: true }[]
    expect: 'absent' | 'present' | 'current' | 'stale' | undefined
  }[]
}

const anyStep: fc.Arbitrary<Step> = fc.record({
  master: fc.nat({ max: 1 }),
  changes: fc.array(
    fc.record({
      put: fc.constantFrom(true, true, true, false),
      kind: fc.constantFrom('device', 'device', 'device', 'user'),
      project: fc.constantFrom('default', 'default', 'p', '*'),
      id: fc.constantFrom('a', 'b', 'a\0'),
      claims: fc.uniqueArray(
        fc.record(
          {
            index: fc.constantFrom('mac', 'port'),
            value: fc.constantFrom('1', '2', ''),
            everywhere: fc.constant(true as const),
          },
          { requiredKeys: ['index', 'value'] },
        ),
        { maxLength: 2, selector: ({ index, value, everywhere }) => `${index} ${value} ${everywhere}` },
      ),
      expect: fc.constantFrom(
        undefined,
        undefined,
        undefined,
        undefined,
        'absent',
        'present',
        'current',
        'stale',
      ),
    }),
    { minLength: 1, maxLength: 4 },
  ),
})

/** The embedded store is the model: it decides by transaction-plan.ts, Redis by its own script. */
test('two masters on Redis decide as one embedded store does, whatever they are asked', async () => {
  const model = await openLmdbStore(makeFolder())
  atEnd(() => model.close())
  const prefix = randomUUID()
  const masters = [await openAtEnd(prefix), await openAtEnd(prefix)] as const
  const empty: string[] = []
  for await (const line of exportStore(masters[0])) empty.push(line)
  const pick = ({ kind, project, id }: RecordRef) => ({ kind, project, id })
  const look = async (store: Store) => {
    const seen: unknown[] = []
    for (const kind of ['device', 'user']) {
      const { records } = await store.scan({ kind, limit: 100 })
      seen.push(records.map(({ kind, project, id, value }) => ({ kind, project, id, value })))
      for (const index of ['mac', 'port']) {
        seen.push(await store.claims(kind, index))
        for (const value of ['1', '2', '']) seen.push((await store.find(kind, { index, value })).map(pick))
      }
    }
    return seen
  }
  const apply = async (reader: Store, writer: Store, { changes }: Step, value: number): Promise<Outcome> => {
    const asked: Change[] = []
    for (const { put, claims, expect, ...ref } of changes) {
      const version = (await reader.get(ref))?.version ?? 1
      const expectation =
        expect === 'current' ? version : expect === 'stale' ? Math.max(0, version - 0.5) : expect
      const expected = expectation === undefined ? {} : { expect: expectation }
      asked.push(
        put ? { type: 'put', ref, value, claims, ...expected } : { type: 'remove', ref, ...expected },
      )
    }
    return writer.transact(asked)
  }
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { maxLength: 25 }), async (steps) => {
      for (const store of [model, masters[0]]) await importStore(store, empty, { replace: true })
      for (const [n, step] of steps.entries()) {
        const expected = await apply(model, model, step, n)
        const outcome = await apply(masters[step.master ? 0 : 1], masters[step.master ? 1 : 0], step, n)
        expect(outcome).toEqual(expected)
      }
      for (const master of masters) expect(await look(master)).toEqual(await look(model))
    }),
    { numRuns: 100 },
  )
})

test('what Redis forgot of the scripts is told again', async () => {
  const store = await openAtEnd(randomUUID())
  const ref = { kind: 'device', project: 'default', id: 'a' }
  for (let round = 0; round < 3; round++) {
    await redis.cli('SCRIPT', 'FLUSH')
    expect(await store.transact([{ type: 'put', ref, value: round }])).toEqual({ done: true })
    await redis.cli('SCRIPT', 'FLUSH')
    const all = await Promise.all([store.get(ref), store.get(ref), store.scan({ kind: 'device', limit: 1 })])
    expect(all[1]?.value).toBe(round)
  }
})

test('a store of a newer program is refused by name, at the start and while it is open', async () => {
  const prefix = randomUUID()
  const store = await openAtEnd(prefix)
  await redis.cli('HSET', `{${prefix}}:meta`, 'schema', '3')
  const newer = { code: 'STORE_TOO_NEW', message: expect.stringMatching(/schema 3.*knows 2: update sshoal/) }
  await expect(store.get({ kind: 'device', project: 'default', id: 'a' })).rejects.toMatchObject(newer)
  await expect(open(prefix)).rejects.toMatchObject(newer)
})

test('everything moves from the embedded store to Redis and back, and stays the same', async () => {
  const embedded = await openLmdbStore(makeFolder())
  atEnd(() => embedded.close())
  const changes = Array.from({ length: 1_500 }, (_, n): Change => {
    const project = n % 3 === 0 ? 'other' : 'default'
    const claims = [{ index: 'fingerprint', value: `SHA256:${n}` }]
    return {
      type: 'put',
      ref: { kind: n % 2 ? 'device' : 'user', project, id: `d${n}` },
      value: { n },
      claims,
    }
  })
  await embedded.transact(changes)
  const linesOf = async (store: Store) => {
    const lines: string[] = []
    for await (const line of exportStore(store)) lines.push(line)
    return lines
  }
  const prefix = randomUUID()
  const inRedis = await openAtEnd(prefix)
  expect(await importStore(inRedis, exportStore(embedded))).toBe(1_500)
  const [head = '', ...records] = await linesOf(embedded)
  const [headThere = '', ...recordsThere] = await linesOf(inRedis)
  expect(recordsThere).toEqual(records)
  expect(JSON.parse(headThere)).toEqual({ ...JSON.parse(head), invalidation: 1 })
  const back = await openLmdbStore(makeFolder())
  atEnd(() => back.close())
  await importStore(back, exportStore(inRedis))
  expect((await linesOf(back)).slice(1)).toEqual(records)
  // Copies do not stay behind.
  expect((await redis.cli('--raw', 'KEYS', `{${prefix}}:*port:*`)).trim()).toBe('')
})
