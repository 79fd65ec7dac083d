// The embedded store: LMDB in one folder, one process at a time. Writes of one tick share one commit.
// A commit is on the disk before its promise resolves (no overlapping sync), so what was acknowledged survives a kill -9.
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'

import { errorText, SshoalError, type Log } from '@sshoal/shared'
import { open, type Database, type GetOptions, type RootDatabase } from 'lmdb'

import { checkDataFile, identify } from './lmdb-file.ts'
import { migrateStore, storeMoved } from './migrate-store.ts'
import { SCHEMA, type Schema } from './schema.ts'
import { lockStore, type StoreLock } from './store-lock.ts'
import {
  formatCursor,
  notEmpty,
  parseCursor,
  storeClosed,
  type Change,
  type Claim,
  type ClaimedRecord,
  type Outcome,
  type Page,
  type RecordRef,
  type RestoreOptions,
  type Scan,
  type Snapshot,
  type Store,
  type StoredRecord,
  type StorePlace,
  type StoreState,
} from './store.ts'
import { planChanges, type Body } from './transaction-plan.ts'

type RecordKey = [kind: string, project: string, id: string]
type ClaimKey = [kind: string, index: string, value: string, scope: string]

/**
 * Opens or makes the store in `dataDir`/store (folder 0700, files 0600); one of an older schema is migrated, after a copy
 * was saved in `dataDir`. Throws STORE_LOCKED, STORE_TOO_NEW, STORE_FAILED, EXPORT_FILE where there is no room for the copy.
 */
export async function openLmdbStore(
  dataDir: string,
  { schema = SCHEMA, log }: { schema?: Schema; log?: Log } = {},
): Promise<Store> {
  const dir = join(dataDir, 'store')
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new SshoalError('STORE_FAILED', `cannot make ${dir}: ${errorText(error)}`, { cause: error })
  }
  const lock = await lockStore(dir)
  let root: RootDatabase | undefined
  try {
    checkDataFile(join(dir, 'data.mdb'))
    root = open({ path: dir, encoding: 'json', overlappingSync: false, maxDbs: 4 })
    for (const file of ['data.mdb', 'lock.mdb']) chmodSync(join(dir, file), 0o600)
    const meta = root.openDB<unknown, string>({ name: 'meta', encoding: 'json' })
    const found = identify(root, meta, schema)
    const store = new LmdbStore(root, meta, lock, found.id, schema)
    if (found.schema < schema.number)
      await migrateStore({ store, snapshot: () => store.snapshot(), folder: dataDir, log })
    return store
  } catch (error) {
    await root?.close()
    await lock.release()
    if (error instanceof SshoalError) throw error
    throw new SshoalError('STORE_FAILED', `cannot open ${dir}: ${errorText(error)}`, { cause: error })
  }
}

/** An export leaves room for others after so many records. */
const EXPORT_PAGE = 500

class LmdbStore implements Store {
  readonly state = 'ok'
  readonly places = []
  readonly schema: Schema
  readonly #listeners = new Set<(state: StoreState, id: string) => void>()
  #id: string
  readonly #root: RootDatabase
  readonly #meta: Database<unknown, string>
  readonly #records: Database<Body, RecordKey>
  readonly #claims: Database<[project: string, id: string], ClaimKey>
  readonly #lock: StoreLock
  #closing: Promise<void> | undefined

  constructor(
    root: RootDatabase,
    meta: Database<unknown, string>,
    lock: StoreLock,
    id: string,
    schema: Schema,
  ) {
    this.#id = id
    this.schema = schema
    this.#root = root
    this.#meta = meta
    this.#lock = lock
    this.#records = root.openDB({ name: 'records', encoding: 'json' })
    this.#claims = root.openDB({ name: 'claims', encoding: 'json' })
  }

  get id(): string {
    return this.#id
  }

  /** Only `restore` changes anything about a store that is in this process. */
  onState(listener: (state: StoreState, id: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async accept(): Promise<string> {
    this.#checkOpen()
    return this.#id
  }

  async get<T>(ref: RecordRef): Promise<StoredRecord<T> | undefined> {
    return this.#read(() => this.#get<T>(ref))
  }

  async find<T>(kind: string, claim: Pick<Claim, 'index' | 'value'>): Promise<StoredRecord<T>[]> {
    return this.#read(() => {
      const found: StoredRecord<T>[] = []
      const start: ClaimKey = [kind, claim.index, claim.value, '']
      for (const { key, value } of this.#claims.getRange({ start })) {
        if (key[0] !== kind || key[1] !== claim.index || key[2] !== claim.value) break
        const record = this.#get<T>({ kind, project: value[0], id: value[1] })
        if (record) found.push(record)
      }
      return found
    })
  }

  async claims(kind: string, index: string): Promise<{ value: string; ref: RecordRef }[]> {
    return this.#read(() => {
      const found: { value: string; ref: RecordRef }[] = []
      const start: ClaimKey = [kind, index, '', '']
      for (const { key, value } of this.#claims.getRange({ start })) {
        if (key[0] !== kind || key[1] !== index) break
        found.push({ value: key[2], ref: { kind, project: value[0], id: value[1] } })
      }
      return found
    })
  }

  async scan<T>(scan: Scan): Promise<Page<T>> {
    const place = scan.after === undefined ? undefined : parseCursor(scan.after)
    return this.#read(() => {
      const start: RecordKey = place
        ? [scan.kind, place.project, place.id]
        : [scan.kind, scan.project ?? '', scan.prefix ?? '']
      const records: StoredRecord<T>[] = []
      for (const { key, value } of this.#records.getRange({ start, exclusiveStart: place !== undefined })) {
        const [kind, project, id] = key
        if (kind !== scan.kind || (scan.project !== undefined && project !== scan.project)) break
        if (scan.prefix !== undefined && !id.startsWith(scan.prefix)) break
        const last = records.at(-1)
        if (last && records.length === scan.limit) return { records, next: formatCursor(last) }
        records.push({ kind, project, id, value: value.value as T, version: value.version })
      }
      return { records, next: null }
    })
  }

  async transact(changes: Change[], { numbered = false } = {}): Promise<Outcome> {
    return this.#write((): Outcome => {
      const plan = planChanges(changes, {
        record: (ref) => this.#records.get([ref.kind, ref.project, ref.id]),
        claim: (kind, claim, scope) => this.#claims.get([kind, claim.index, claim.value, scope]),
      })
      if ('conflict' in plan) return { done: false, conflict: plan.conflict }
      let version = Number(this.#meta.get('version') ?? 0)
      for (const { ref, body } of plan.records.values()) {
        const key: RecordKey = [ref.kind, ref.project, ref.id]
        if (body) this.#records.putSync(key, { ...body, version: ++version })
        else this.#records.removeSync(key)
      }
      for (const { key, holder } of plan.claims.values()) {
        if (holder) this.#claims.putSync(key, holder)
        else this.#claims.removeSync(key)
      }
      this.#meta.putSync('version', version)
      return numbered ? { done: true, invalidation: this.#number() } : { done: true }
    })
  }

  async nextInvalidation(): Promise<number> {
    return this.#write(() => this.#number())
  }

  async lastInvalidation(): Promise<number> {
    return this.#read(() => Number(this.#meta.get('invalidation') ?? 0))
  }

  async snapshot(): Promise<Snapshot> {
    this.#checkOpen()
    // What is written from now on goes to other pages, until this is done.
    const transaction = this.#root.useReadTransaction()
    const records = this.#records
    async function* all(): AsyncGenerator<ClaimedRecord, void> {
      try {
        let count = 0
        for (const { key, value } of records.getRange({ transaction })) {
          const [kind, project, id] = key
          yield { kind, project, id, value: value.value, version: value.version, claims: value.claims }
          if (++count % EXPORT_PAGE === 0) await new Promise((resolve) => setImmediate(resolve))
        }
      } finally {
        transaction.done()
      }
    }
    return { ...this.#place({ transaction }), records: all() }
  }

  /** Keeps all of it in memory until it is complete, because only one transaction is all or nothing. */
  async restore(snapshot: Snapshot, { replace = false, over }: RestoreOptions = {}): Promise<void> {
    const records: ClaimedRecord[] = []
    for await (const record of snapshot.records) records.push(record)
    await this.#write(() => {
      const place = this.#place()
      if (over && !isDeepStrictEqual(over, place)) throw storeMoved()
      if (!replace && this.#records.getKeysCount({ limit: 1 }) > 0) throw notEmpty()
      this.#records.clearSync()
      this.#claims.clearSync()
      for (const { kind, project, id, value, version, claims } of records) {
        this.#records.putSync([kind, project, id], { value, version, claims })
        for (const claim of claims)
          this.#claims.putSync(
            [kind, claim.index, claim.value, claim.everywhere ? '*' : project],
            [project, id],
          )
      }
      this.#meta.putSync('version', Math.max(place.version, snapshot.version))
      this.#meta.putSync('invalidation', Math.max(place.invalidation, snapshot.invalidation) + 1)
      this.#meta.putSync('id', snapshot.id)
      this.#meta.putSync('schema', this.schema.number)
    })
    this.#id = snapshot.id
    for (const listener of this.#listeners) listener(this.state, this.#id)
  }

  close(): Promise<void> {
    this.#closing ??= this.#root.close().then(() => this.#lock.release())
    return this.#closing
  }

  #number(): number {
    const next = Number(this.#meta.get('invalidation') ?? 0) + 1
    this.#meta.putSync('invalidation', next)
    return next
  }

  #place(at: GetOptions = {}): StorePlace {
    const number = (name: string): number => Number(this.#meta.get(name, at) ?? 0)
    const [schema, version, invalidation] = [number('schema'), number('version'), number('invalidation')]
    return { schema, id: String(this.#meta.get('id', at)), version, invalidation }
  }

  #get<T>(ref: RecordRef): StoredRecord<T> | undefined {
    const body = this.#records.get([ref.kind, ref.project, ref.id])
    return body && { ...ref, value: body.value as T, version: body.version }
  }

  #read<T>(read: () => T): T {
    this.#checkOpen()
    try {
      return read()
    } catch (error) {
      throw failed(error)
    }
  }

  async #write<T>(write: () => T): Promise<T> {
    this.#checkOpen()
    try {
      return await this.#root.transaction(write)
    } catch (error) {
      throw failed(error)
    }
  }

  #checkOpen(): void {
    if (this.#closing) throw storeClosed()
  }
}

function failed(error: unknown): SshoalError {
  if (error instanceof SshoalError) return error
  return new SshoalError('STORE_FAILED', `the store does not work: ${errorText(error)}`, { cause: error })
}
