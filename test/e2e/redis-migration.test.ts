// Migrations of a store in a real Redis: what the embedded store promises too, and what only several masters can break.
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { silentLog } from '@sshoal/shared'
import { beforeAll, expect, test } from 'vitest'

import { parseRedisUrl } from '../../packages/master/src/store/redis-address.ts'
import { openRedisStore } from '../../packages/master/src/store/redis-store.ts'
import type { Schema } from '../../packages/master/src/store/schema.ts'
import type { Store } from '../../packages/master/src/store/store.ts'
import { newSchema, OLD } from '../../packages/master/test/store/migration-steps.ts'
import { describeMigration } from '../../packages/master/test/store/migration-suite.ts'
import { atEnd, eventually, makeFolder } from '../kit/index.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})

function open(prefix: string, schema: Schema, folder = makeFolder()): Promise<Store> {
  return openRedisStore({ address: parseRedisUrl(redis.url), prefix, log: silentLog(), folder, schema })
}

async function openAtEnd(prefix: string, schema: Schema, folder?: string): Promise<Store> {
  const store = await open(prefix, schema, folder)
  atEnd(() => store.close())
  return store
}

const ref = (id: string) => ({ kind: 'device', project: 'default', id })
const put = (store: Store, id: string) =>
  store.transact([{ type: 'put', ref: ref(id), value: { name: `name of ${id}` } }])

describeMigration('a migration of the store in Redis', () => {
  const [prefix, folder] = [randomUUID(), makeFolder()]
  return {
    folder,
    open: (schema) => open(prefix, schema, folder),
    openOther: (schema) => open(randomUUID(), schema),
    args: [folder, redis.url, prefix],
    async destroy() {
      await redis.cli('FLUSHALL')
    },
  }
})

test('two masters that open an older store at once migrate it once, while one of the older version writes to the last moment', async () => {
  const prefix = randomUUID()
  const old = await openAtEnd(prefix, OLD)
  for (let n = 0; n < 200; n++) await put(old, `early${n}`)
  const written: string[] = []
  let refused: unknown
  const writing = (async () => {
    for (let n = 0; refused === undefined; n++)
      await put(old, `late${n}`).then(
        () => written.push(`late${n}`),
        (error: unknown) => (refused = error),
      )
  })()
  await eventually(() => expect(written.length).toBeGreaterThan(3))
  const [one, two] = await Promise.all([openAtEnd(prefix, newSchema()), openAtEnd(prefix, newSchema())])
  await writing
  expect(refused).toMatchObject({
    code: 'STORE_TOO_NEW',
    message: expect.stringMatching(/schema (1\.5|3), this program knows 1: update sshoal/),
  })
  for (const store of [one, two]) {
    const { records } = await store.scan<{ name: string }>({ kind: 'device', limit: 5_000 })
    expect(records.length).toBe(200 + written.length)
    // Not once more by the second one.
    for (const { id, value } of records) expect(value.name).toBe(`NAME OF ${id.toUpperCase()}`)
  }
  expect(await put(one, 'newer')).toEqual({ done: true })
  expect((await two.get(ref('newer')))?.version).toBeGreaterThan(0)
}, 30_000)

test('where the copy cannot be made nothing is migrated, and masters of the older version go on', async () => {
  const prefix = randomUUID()
  const old = await openAtEnd(prefix, OLD)
  await put(old, 'a')
  const file = join(makeFolder(), 'file')
  writeFileSync(file, '')
  await expect(open(prefix, newSchema(), file)).rejects.toThrow(/EEXIST|ENOTDIR|not a directory/)
  expect((await old.get(ref('a')))?.value).toEqual({ name: 'name of a' })
  expect(await put(old, 'b')).toEqual({ done: true })
})

test('a store that comes back older under a live master, as from a backup of Redis, is migrated there', async () => {
  const [prefix, folder] = [randomUUID(), makeFolder()]
  const old = await open(prefix, OLD)
  await put(old, 'a')
  await old.close()
  const store = await openAtEnd(prefix, newSchema(), folder)
  await redis.cli('HSET', `{${prefix}}:meta`, 'schema', '1')
  await eventually(async () => {
    expect((await redis.cli('HGET', `{${prefix}}:meta`, 'schema')).trim()).toBe('3')
    expect(store.state).toBe('ok')
  })
  // Through the steps once more, as everything that came back would be.
  expect((await store.get({ ...ref('a'), kind: 'nickname' }))?.value).toBeDefined()
})
