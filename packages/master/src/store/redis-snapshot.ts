// Exports from Redis and imports into it, while masters work: both go through copies beside the real keys, which
// are made and put in place in one step. A copy that is left behind by a crash ends by itself.
import { randomUUID } from 'node:crypto'

import { SshoalError } from '@sshoal/shared'

import { storeMoved } from './migrate-store.ts'
import type { RedisConnection } from './redis-connection.ts'
import { claimName, formatBody, nameOf, readBody, readName, type RedisNames } from './redis-names.ts'
import { FREEZE, PAGE, RESTORE, type RedisScript } from './redis-scripts.ts'
import { checkSchema, type Schema } from './schema.ts'
import { notEmpty, type ClaimedRecord, type Snapshot, type StorePlace } from './store.ts'

export type Ask = (
  script: RedisScript,
  keys: string[],
  args: (string | number | Buffer)[],
  write?: boolean,
  connection?: RedisConnection,
) => Promise<unknown[]>

const COPY_MS = 600_000
/** Redis copies 100,000 records in 0.1 to 0.3 s and does nothing else meanwhile. */
const FREEZE_MS = 30_000
const PAGE_LIMIT = 500
const ATTEMPTS = 5

/** Takes the memory of the records once more until it is read. `ask` asks a store of this id and schema. */
export async function snapshotRedis(
  connection: RedisConnection,
  names: RedisNames,
  { id, schema }: Pick<StorePlace, 'id' | 'schema'>,
  ask: Ask,
): Promise<Snapshot> {
  // Where Redis is away, this says it in time.
  await connection.call((client) => client.exists(names.meta))
  const copy = `export:${randomUUID()}:`
  const patient = connection.another(FREEZE_MS)
  try {
    await patient.opened()
    const { kinds, version, invalidation } = await freeze(patient, names, ask, copy)
    const records = readCopy(connection, names, ask, kinds, copy)
    return { schema, id, version, invalidation, records }
  } finally {
    patient.close()
  }
}

async function freeze(patient: RedisConnection, names: RedisNames, ask: Ask, copy: string) {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const kinds = (await patient.call((client) => client.smembers(names.kinds))).sort()
    const keys = kinds.flatMap((kind) => [...pairOf(names, kind), ...pairOf(names, kind, copy)])
    const answer = await ask(FREEZE, [names.kinds, ...keys], [COPY_MS], true, patient)
    const [word, version, invalidation] = answer
    if (word !== 'again') return { kinds, version: Number(version), invalidation: Number(invalidation) }
  }
  throw busy()
}

async function* readCopy(
  connection: RedisConnection,
  names: RedisNames,
  ask: Ask,
  kinds: string[],
  copy: string,
): AsyncGenerator<ClaimedRecord, void> {
  try {
    for (const kind of kinds) {
      const expected = await connection.call((client) => client.hlen(names.records(kind, copy)))
      let count = 0
      for (let from = '-'; ;) {
        const answer = await ask(PAGE, pairOf(names, kind, copy), [from, '+', PAGE_LIMIT])
        const [, page, bodies] = answer as [string, string[], string[]]
        for (const [at, name] of page.entries()) {
          yield readBody({ kind, ...readName(name) }, bodies[at] ?? '')
          count++
        }
        const last = page.at(-1)
        if (last === undefined) break
        from = `(${last}`
      }
      const left = await connection.call((client) => client.exists(names.records(kind, copy)))
      if (count !== expected || (expected > 0 && left === 0))
        throw new SshoalError('STORE_FAILED', 'the copy for the export was lost on the way; try again')
    }
  } finally {
    const keys = kinds.flatMap((kind) => pairOf(names, kind, copy))
    // Where Redis is away meanwhile, the copies end by themselves.
    if (keys.length > 0) await connection.call((client) => client.unlink(...keys)).catch(() => {})
  }
}

export async function restoreRedis(
  connection: RedisConnection,
  names: RedisNames,
  snapshot: Snapshot,
  {
    replace,
    over,
    known,
    schema,
  }: { replace: boolean; over: StorePlace | undefined; known: string; schema: Schema },
): Promise<void> {
  const copy = `import:${randomUUID()}:`
  const kinds = new Set<string>()
  try {
    let some: ClaimedRecord[] = []
    for await (const record of snapshot.records) {
      kinds.add(record.kind)
      some.push(record)
      if (some.length < PAGE_LIMIT) continue
      await stage(connection, names, copy, some)
      some = []
    }
    if (some.length > 0) await stage(connection, names, copy, some)
    const news = [...kinds].flatMap((kind) => [...names.all(kind, copy), ...names.all(kind)])
    const { id, version, invalidation } = snapshot
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const old = await connection.call((client) => client.smembers(names.kinds))
      const keys = [names.meta, names.kinds, ...old.flatMap((kind) => names.all(kind)), ...news]
      const place = over ? `${over.schema} ${over.id} ${over.version} ${over.invalidation}` : ''
      const counts = [version, invalidation, replace ? 1 : 0, old.length]
      const args = [known, id, schema.number, ...counts, place, ...kinds]
      const [word, , found] = (await connection.run(RESTORE, keys, args)) as unknown[]
      if (word === 'ok') return
      if (word === 'full') throw notEmpty()
      if (word === 'other') checkSchema(Number(found), schema, 'name another --redis')
      if (word === 'moved') throw storeMoved()
    }
    throw busy()
  } finally {
    const keys = [...kinds].flatMap((kind) => names.all(kind, copy))
    if (keys.length > 0) await connection.call((client) => client.unlink(...keys)).catch(() => {})
  }
}

async function stage(
  connection: RedisConnection,
  names: RedisNames,
  copy: string,
  records: ClaimedRecord[],
): Promise<void> {
  await connection.call(async (client) => {
    const pipeline = client.pipeline()
    const touched = new Set<string>()
    for (const record of records) {
      const [bodies = '', order = '', claims = ''] = names.all(record.kind, copy)
      const name = nameOf(record)
      const body = formatBody(record.project, record.value, record.claims)
      pipeline.hset(bodies, name, `${record.version}\0${body}`).zadd(order, 0, name)
      for (const claim of record.claims) pipeline.zadd(claims, 0, claimName(record.project, claim) + name)
      for (const key of [bodies, order, claims]) touched.add(key)
    }
    for (const key of touched) pipeline.pexpire(key, COPY_MS)
    for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error
  })
}

function pairOf(names: RedisNames, kind: string, copy = ''): string[] {
  return [names.records(kind, copy), names.order(kind, copy)]
}

function busy(): SshoalError {
  return new SshoalError('BUSY', 'kinds of records come and go too fast; try again')
}
