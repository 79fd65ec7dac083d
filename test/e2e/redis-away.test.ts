// A Redis that dies, stands still or comes back without its data: nobody waits, nothing happens late, and another store
// is never taken for the one that was.
import { randomUUID } from 'node:crypto'

import { silentLog, SshoalError } from '@sshoal/shared'
import { expect, test } from 'vitest'

import { parseRedisUrl } from '../../packages/master/src/store/redis-address.ts'
import { openRedisStore } from '../../packages/master/src/store/redis-store.ts'
import { exportStore, importStore } from '../../packages/master/src/store/store-export.ts'
import type { Store } from '../../packages/master/src/store/store.ts'
import { atEnd, eventually, makeFolder } from '../kit/index.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'

const device = (id: string) => ({ kind: 'device', project: 'default', id })
const put = (store: Store, id: string, value: unknown = 1) =>
  store.transact([{ type: 'put', ref: device(id), value }])

async function open(redis: RedisServer, known?: string, remember?: (id: string) => void): Promise<Store> {
  const address = parseRedisUrl(redis.url)
  const folder = makeFolder()
  const store = await openRedisStore({ address, prefix: 'sshoal', log: silentLog(), folder, known, remember })
  atEnd(() => store.close())
  return store
}

function statesOf(store: Store): string[] {
  const states: string[] = []
  store.onState((state) => states.push(state))
  return states
}

/** The code of the refusal, and that it came within 2 s. */
async function refusal(call: Promise<unknown>): Promise<string> {
  const begin = performance.now()
  const code = await call.then(
    () => 'none',
    (error: unknown) => (error instanceof SshoalError ? error.code : String(error)),
  )
  expect(performance.now() - begin).toBeLessThan(2_000)
  return code
}

/** One of each kind of call. */
const everyCall = (store: Store) => [
  store.get(device('a')),
  store.find('device', { index: 'mac', value: 'm' }),
  store.claims('device', 'mac'),
  store.scan({ kind: 'device', limit: 1 }),
  put(store, randomUUID()),
  store.nextInvalidation(),
  store.lastInvalidation(),
  store.snapshot(),
]

test('a killed Redis is refused at once, and what it acknowledged is there when it is back', async () => {
  const redis = await startRedis()
  const store = await open(redis)
  const { id } = store
  const states = statesOf(store)
  const acknowledged: string[] = []
  const stop = new AbortController()
  const writers = Array.from({ length: 4 }, async () => {
    while (!stop.signal.aborted) {
      const name = randomUUID()
      if (
        await put(store, name).then(
          () => true,
          () => false,
        )
      )
        acknowledged.push(name)
      else await new Promise((resolve) => setImmediate(resolve))
    }
  })
  await eventually(() => acknowledged.length > 200)
  await redis.kill()
  await eventually(() => store.state === 'away')
  const codes = await Promise.all(
    [...everyCall(store), store.accept(), importStore(store, exportStore(store))].map(refusal),
  )
  expect(new Set(codes)).toEqual(new Set(['STORE_UNAVAILABLE']))
  const before = acknowledged.length
  await redis.restart()
  await eventually(() => acknowledged.length > before)
  stop.abort()
  await Promise.all(writers)
  expect(store.state).toBe('ok')
  expect(store.id).toBe(id)
  expect(states).toEqual(['away', 'ok'])
  for (const name of acknowledged) expect(await store.get(device(name))).toBeDefined()
})

test('a Redis that stands still is refused within two seconds, then at once, and nothing that was refused happens later', async () => {
  const redis = await startRedis()
  const store = await open(redis)
  // Redis knows the scripts from now on, so that they would run if they were only late.
  await Promise.all(everyCall(store))
  await store.transact([{ type: 'remove', ref: device('a') }])
  const before = (await store.scan({ kind: 'device', limit: 100 })).records
  const invalidations = await store.lastInvalidation()
  redis.signal('SIGSTOP')
  const codes = await Promise.all(everyCall(store).map(refusal))
  expect(new Set(codes)).toEqual(new Set(['STORE_UNAVAILABLE']))
  const late = Array.from({ length: 20 }, (_, n) => refusal(put(store, `late${n}`)))
  expect(new Set(await Promise.all(late))).toEqual(new Set(['STORE_UNAVAILABLE']))
  await eventually(async () => {
    const begin = performance.now()
    await refusal(put(store, 'refused'))
    return performance.now() - begin < 50
  })
  redis.signal('SIGCONT')
  await eventually(() => store.state === 'ok')
  expect((await store.scan({ kind: 'device', limit: 100 })).records).toEqual(before)
  expect(await store.nextInvalidation()).toBe(invalidations + 1)
})

test('a clock of Redis that is not ours does no harm', async () => {
  const redis = await startRedis()
  const store = await open(redis)
  // What the store knows of Redis' clock is corrected by the first answer.
  const tick = performance.now.bind(performance)
  try {
    performance.now = () => tick() - 60_000
    await put(store, 'a')
    performance.now = () => tick() + 60_000
    await put(store, 'b')
  } finally {
    Reflect.deleteProperty(performance, 'now')
  }
  await put(store, 'c')
  expect((await store.scan({ kind: 'device', limit: 9 })).records).toHaveLength(3)
})

test('a Redis without its data is another store for every master, until one of them is told to accept it', async () => {
  const redis = await startRedis({ durable: false })
  const remembered: string[] = []
  const one = await open(redis, undefined, (id) => remembered.push(id))
  const two = await open(redis)
  const { id } = one
  expect(remembered).toEqual([id])
  await put(one, 'a')
  const states = statesOf(two)
  await redis.restart({ empty: true })
  await eventually(() => one.state === 'changed' && two.state === 'changed')
  const codes = await Promise.all([...everyCall(one), ...everyCall(two)].map(refusal))
  expect(new Set(codes)).toEqual(new Set(['STORE_CHANGED']))
  expect(one.id).toBe(id)
  // Nobody wrote anything into it.
  expect(await redis.cli('KEYS', '*')).toBe('')
  // One that starts meanwhile and knows the store of before does not take it either.
  const three = await open(redis, id)
  expect(three.state).toBe('changed')

  const accepted = await two.accept()
  expect(accepted).not.toBe(id)
  await eventually(() => [one, two, three].every((store) => store.state === 'ok' && store.id === accepted))
  expect(states).toEqual(['away', 'changed', 'ok'])
  expect(remembered).toEqual([id, accepted])
  expect(await one.get(device('a'))).toBeUndefined()
  await put(three, 'b')
  expect(await one.get(device('b'))).toBeDefined()
  // One that slept through all of it follows too.
  expect((await open(redis, id)).id).toBe(accepted)
})

test('an import makes a Redis without its data the store that it was', async () => {
  const redis = await startRedis({ durable: false })
  const [one, two] = [await open(redis), await open(redis)]
  const { id } = one
  await put(one, 'a', { deep: true })
  const lines: string[] = []
  for await (const line of exportStore(one)) lines.push(line)
  await redis.restart({ empty: true })
  await eventually(() => one.state === 'changed' && two.state === 'changed')
  expect(await importStore(one, lines)).toBe(1)
  await eventually(() => one.state === 'ok' && two.state === 'ok')
  expect([one.id, two.id]).toEqual([id, id])
  expect((await two.get(device('a')))?.value).toEqual({ deep: true })
})

test('another store in its place is refused, also when keys are only flushed and the connection stays', async () => {
  const redis = await startRedis()
  const one = await open(redis)
  await redis.cli('FLUSHALL')
  expect(await refusal(put(one, 'a'))).toBe('STORE_CHANGED')
  const stranger = await open(redis)
  expect(stranger.id).not.toBe(one.id)
  await put(stranger, 'b')
  expect(await refusal(one.get(device('b')))).toBe('STORE_CHANGED')
  expect(await one.accept()).toBe(stranger.id)
  expect(await one.get(device('b'))).toBeDefined()
})

test('a start without Redis fails within seconds, and closing does not wait for it', async () => {
  const redis = await startRedis()
  const store = await open(redis)
  redis.signal('SIGSTOP')
  const writing = refusal(put(store, 'a'))
  const begin = performance.now()
  await store.close()
  expect(performance.now() - begin).toBeLessThan(2_000)
  expect(await writing).toBe('STORE_UNAVAILABLE')
  expect(await refusal(store.get(device('a')))).toBe('STORE_CLOSED')
  await redis.kill()
  await expect(open(redis)).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
    message: expect.stringMatching(/127\.0\.0\.1:\d+ does not answer: connect ECONNREFUSED/),
  })
})

test('a Redis that loads and does not know how long is served again as soon as it is done', async () => {
  // Many small ones that load slowly, then a large one: by bytes hardly anything is done until it suddenly is.
  const redis = await startRedis({
    durable: false,
    config: [
      ['key-load-delay', '1000'],
      ['rdbcompression', 'no'],
      ['enable-debug-command', 'yes'],
    ],
  })
  const store = await open(redis)
  await redis.cli('debug', 'populate', '3000', 'small', '10')
  await redis.cli('-n', '1', 'debug', 'populate', '1', 'large', String(64 * 1024 * 1024))
  await redis.cli('save')
  await redis.restart()
  const begin = performance.now()
  await eventually(async () => expect((await put(store, randomUUID())).done).toBe(true), { within: 20_000 })
  expect(performance.now() - begin).toBeLessThan(4_000)
})
