// Migrates a store in Redis under whoever else works with it. First it is marked as half way (1.5), which masters of either
// version refuse to read and write; so a copy can be made however long that takes, and nothing is written that would
// be lost. The mark outlives a crash, and whoever comes next goes on from it; a failure takes it back.
import { errorText, type Log } from '@sshoal/shared'

import { migrateStore } from './migrate-store.ts'
import type { RedisConnection } from './redis-connection.ts'
import type { RedisNames } from './redis-names.ts'
import { MARK_SCHEMA } from './redis-scripts.ts'
import { snapshotRedis, type Ask } from './redis-snapshot.ts'
import type { Store } from './store.ts'

/** One that failed is not tried again before. */
const REPEAT_MS = 30_000

export interface RedisMigrationDeps {
  connection: RedisConnection
  names: RedisNames
  store: Pick<Store, 'id' | 'schema' | 'restore'>
  /** Asks a store of this schema. */
  askAs(schema: number): Ask
  /** Looks who is there; answers its schema where that is older, else undefined. */
  look(): Promise<number | undefined>
  folder: string
  log: Log
}

export class RedisMigration {
  readonly #deps: RedisMigrationDeps
  #running: Promise<void> | undefined
  #repeatAt = 0

  constructor(deps: RedisMigrationDeps) {
    this.#deps = deps
  }

  /** Resolves when the store is of today's schema, or soon after a failure. Once at a time. Throws EXPORT_FILE and what the store throws. */
  run(from: number): Promise<void> {
    if (performance.now() < this.#repeatAt) return Promise.resolve()
    this.#running ??= this.#run(from).finally(() => (this.#running = undefined))
    return this.#running
  }

  async #run(from: number): Promise<void> {
    for (let found: number | undefined = from; found !== undefined; found = await this.#deps.look())
      await this.#migrate(found)
  }

  /** Where another master has done it meanwhile, nothing happens. */
  async #migrate(found: number): Promise<void> {
    const { connection, names, store, askAs, folder, log } = this.#deps
    const schema = Math.floor(found)
    const marked = schema + 0.5
    try {
      await this.#mark(found, marked)
      const snapshot = async () => ({
        ...(await snapshotRedis(connection, names, { id: store.id, schema: marked }, askAs(marked))),
        schema,
      })
      await migrateStore({
        store: {
          schema: store.schema,
          restore: (records, { over } = {}) =>
            store.restore(records, { replace: true, ...(over && { over: { ...over, schema: marked } }) }),
        },
        snapshot,
        folder,
        log,
      })
    } catch (error) {
      this.#repeatAt = performance.now() + REPEAT_MS
      log.error({ reason: errorText(error), schema }, 'the store could not be migrated')
      await this.#mark(marked, schema).catch(() => {}) // where Redis is away, the mark stays, and the next one goes on
      throw error
    }
  }

  async #mark(from: number, to: number): Promise<void> {
    const { connection, names, store } = this.#deps
    if (from !== to) await connection.run(MARK_SCHEMA, [names.meta], [store.id, from, to])
  }
}
