// The embedded store: LMDB in one folder, one process at a time. Writes of one tick share one commit.
// A commit is on the disk before its promise resolves (no overlapping sync), so what was acknowledged survives a kill -9.
import { randomUUID } from 'node:crypto'
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { errorText, SshoalError } from '@sshoal/shared'
import { open, type Database, type RootDatabase } from 'lmdb'

import { lockStore, type StoreLock } from './store-lock.ts'
import {
  formatCursor,
  parseCursor,
  type Change,
  type Claim,
  type Outcome,
  type Page,
  type RecordRef,
  type Scan,
  type Store,
  type StoredRecord,
} from './store.ts'
import { planChanges, type Body } from './transaction-plan.ts'

/** What this program writes; an older program refuses a newer store. */
export const SCHEMA = 1

type RecordKey = [kind: string, project: string, id: string]
type ClaimKey = [kind: string, index: string, value: string, scope: string]

/**
 * Opens or makes the store in `dataDir`/store (folder 0700, files 0600).
 * Throws STORE_LOCKED, STORE_TOO_NEW, STORE_FAILED.
 */
export async function openLmdbStore(dataDir: string): Promise<Store> {
  const dir = join(dataDir, 'store')
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new SshoalError('STORE_FAILED', `cannot make ${dir}: ${errorText(error)}`, { cause: error })
  }
  const lock = await lockStore(dir)
  try {
    checkDataFile(join(dir, 'data.mdb'))
    const root = open({ path: dir, encoding: 'json', overlappingSync: false, maxDbs: 4 })
    for (const file of ['data.mdb', 'lock.mdb']) chmodSync(join(dir, file), 0o600)
    const meta = root.openDB<unknown, string>({ name: 'meta', encoding: 'json' })
    const id = identify(root, meta)
    return new LmdbStore(root, meta, lock, id)
  } catch (error) {
    await lock.release()
    if (error instanceof SshoalError) throw error
    throw new SshoalError('STORE_FAILED', `cannot open ${dir}: ${errorText(error)}`, { cause: error })
  }
}

/** LMDB ends the process when it maps a file that is none of its own; its mark is at byte 24 (mdb.c, MDB_meta). */
function checkDataFile(path: string): void {
  if (!existsSync(path) || statSync(path).size === 0) return
  const head = Buffer.alloc(28)
  const file = openSync(path, 'r')
  readSync(file, head)
  closeSync(file)
  if (head.readUInt32LE(24) !== 0xbeefc0de)
    throw new SshoalError(
      'STORE_FAILED',
      `${path} is not a store; move it away, or name another --data folder`,
    )
}

/** The store's id; writes id and schema into a new one. */
function identify(root: RootDatabase, meta: Database<unknown, string>): string {
  return root.transactionSync(() => {
    const schema = meta.get('schema')
    if (typeof schema === 'number' && schema > SCHEMA)
      throw new SshoalError(
        'STORE_TOO_NEW',
        `the store has schema ${schema}, this program knows ${SCHEMA}: update sshoal, or name another --data folder`,
      )
    const known = meta.get('id')
    if (typeof known === 'string') return known
    const id = randomUUID()
    meta.putSync('schema', SCHEMA)
    meta.putSync('id', id)
    return id
  })
}

class LmdbStore implements Store {
  readonly id: string
  readonly #root: RootDatabase
  readonly #meta: Database<unknown, string>
  readonly #records: Database<Body, RecordKey>
  readonly #claims: Database<[project: string, id: string], ClaimKey>
  readonly #lock: StoreLock
  #closing: Promise<void> | undefined

  constructor(root: RootDatabase, meta: Database<unknown, string>, lock: StoreLock, id: string) {
    this.id = id
    this.#root = root
    this.#meta = meta
    this.#lock = lock
    this.#records = root.openDB({ name: 'records', encoding: 'json' })
    this.#claims = root.openDB({ name: 'claims', encoding: 'json' })
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

  async transact(changes: Change[]): Promise<Outcome> {
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
      return { done: true }
    })
  }

  async nextInvalidation(): Promise<number> {
    return this.#write(() => {
      const next = Number(this.#meta.get('invalidation') ?? 0) + 1
      this.#meta.putSync('invalidation', next)
      return next
    })
  }

  async lastInvalidation(): Promise<number> {
    return this.#read(() => Number(this.#meta.get('invalidation') ?? 0))
  }

  close(): Promise<void> {
    this.#closing ??= this.#root.close().then(() => this.#lock.release())
    return this.#closing
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
    if (this.#closing) throw new SshoalError('STORE_CLOSED', 'the store is closed')
  }
}

function failed(error: unknown): SshoalError {
  if (error instanceof SshoalError) return error
  return new SshoalError('STORE_FAILED', `the store does not work: ${errorText(error)}`, { cause: error })
}
