// The store in Redis, for any number of masters: every call is one script, so it sees and leaves one consistent state,
// and the script itself looks whether it still is the same store. What survives a crash of Redis is what its append-only
// file holds (`appendfsync`); what is taken away waits for replicas.
import type { HostPort, Log } from '@sshoal/shared'

import { conflictOf } from './redis-conflict.ts'
import { RedisConnection, type RedisAccess } from './redis-connection.ts'
import { RedisDialogue } from './redis-dialogue.ts'
import { checkHealth } from './redis-health.ts'
import { RedisIdentity } from './redis-identity.ts'
import { RedisMigration } from './redis-migration.ts'
import {
  boundsOf,
  escapePart,
  formatBody,
  nameOf,
  readBody,
  readClaimMember,
  readName,
  RedisNames,
} from './redis-names.ts'
import { Replication } from './redis-replication.ts'
import * as scripts from './redis-scripts.ts'
import { restoreRedis, snapshotRedis } from './redis-snapshot.ts'
import { SCHEMA, type Schema } from './schema.ts'
import {
  formatCursor,
  storeClosed,
  type Change,
  type Claim,
  type Outcome,
  type Page,
  type RecordRef,
  type RestoreOptions,
  type Scan,
  type Snapshot,
  type Store,
  type StoredRecord,
  type StoreState,
} from './store.ts'

export interface RedisStoreOptions extends RedisAccess {
  /** All keys begin with it. */
  prefix: string
  log: Log
  /** The store that this master worked with last: another one is `changed`. Default: any is right. */
  known?: string | undefined
  /** Hears of every new id, so that it is known the next time. */
  remember?(id: string): void
  /** Where the copy of an older store goes before it is migrated. */
  folder: string
  schema?: Schema
}

/** A look at identity, clock and replicas. */
const LOOK_EVERY_MS = 1_000

/**
 * Opens or makes the store. With another store than the known one it opens as `changed`.
 * One of an older schema is migrated, after a copy was saved.
 * Throws STORE_UNAVAILABLE after 5 s, STORE_REFUSED, STORE_EVICTS, STORE_TOO_NEW, REDIS_TLS, EXPORT_FILE.
 */
export async function openRedisStore(options: RedisStoreOptions): Promise<Store> {
  const connection = new RedisConnection(options, options.log)
  try {
    await connection.opened()
    const names = new RedisNames(options.prefix)
    await checkHealth(connection, names, options.log)
    const store = new RedisStore(connection, names, options)
    await store.look()
    return store
  } catch (error) {
    connection.close()
    throw error
  }
}

class RedisStore implements Store {
  readonly schema: Schema
  readonly #connection: RedisConnection
  readonly #names: RedisNames
  readonly #identity: RedisIdentity
  readonly #dialogue: RedisDialogue
  readonly #replication: Replication
  readonly #migration: RedisMigration
  readonly #looking: NodeJS.Timeout
  #closing: Promise<void> | undefined

  constructor(connection: RedisConnection, names: RedisNames, options: RedisStoreOptions) {
    this.schema = options.schema ?? SCHEMA
    this.#connection = connection
    this.#names = names
    const remember = (id: string) => options.remember?.(id)
    this.#identity = new RedisIdentity(
      connection.where,
      options.known ?? '',
      this.schema,
      options.log,
      remember,
    )
    this.#dialogue = new RedisDialogue(connection, names, this.#identity, this.schema)
    this.#replication = new Replication(connection, names, options.log)
    this.#migration = new RedisMigration({
      connection,
      names,
      store: this,
      askAs: (schema) => this.#dialogue.askAs(schema),
      look: () => this.#dialogue.look(),
      folder: options.folder,
      log: options.log,
    })
    const look = () => void this.look().catch(() => {}) // the state says it
    connection.onTurn(look, () => this.#identity.away())
    this.#looking = setInterval(look, LOOK_EVERY_MS)
    this.#looking.unref()
  }

  get id(): string {
    return this.#identity.id
  }

  get state(): StoreState {
    return this.#identity.state
  }

  get places(): HostPort[] {
    return [...this.#connection.nodes, ...this.#dialogue.replicaNodes]
  }

  onState(listener: (state: StoreState, id: string) => void): () => void {
    return this.#identity.onState(listener)
  }

  /** Asks who it is; the state and the clock follow. An older one is migrated. */
  async look(): Promise<void> {
    const older = await this.#dialogue.look()
    if (older !== undefined) await this.#migration.run(older)
  }

  async accept(): Promise<string> {
    const id = await this.#dialogue.accept()
    await this.look()
    return id
  }

  async get<T>(ref: RecordRef): Promise<StoredRecord<T> | undefined> {
    const [, body] = await this.#dialogue.ask(scripts.GET, [this.#names.records(ref.kind)], [nameOf(ref)])
    return body === '' ? undefined : this.#record<T>(ref, String(body))
  }

  async find<T>(kind: string, claim: Pick<Claim, 'index' | 'value'>): Promise<StoredRecord<T>[]> {
    const keys = [this.#names.records(kind), this.#names.claims(kind)]
    const name = `${escapePart(claim.index)}\0${escapePart(claim.value)}\0`
    return this.#records<T>(kind, await this.#dialogue.ask(scripts.FIND, keys, [name]))
  }

  async claims(kind: string, index: string): Promise<{ value: string; ref: RecordRef }[]> {
    const [, members] = await this.#dialogue.ask(
      scripts.CLAIMS,
      [this.#names.claims(kind)],
      [`${escapePart(index)}\0`],
    )
    return (members as string[]).map(readClaimMember).map(({ value, project, id }) => ({
      value,
      ref: { kind, project, id },
    }))
  }

  async scan<T>(scan: Scan): Promise<Page<T>> {
    const keys = [this.#names.records(scan.kind), this.#names.order(scan.kind)]
    const answer = await this.#dialogue.ask(scripts.PAGE, keys, [...boundsOf(scan), scan.limit + 1])
    const records = this.#records<T>(scan.kind, answer)
    if (records.length <= scan.limit) return { records, next: null }
    const page = records.slice(0, scan.limit)
    const last = page.at(-1)
    return { records: page, next: last ? formatCursor(last) : null }
  }

  async transact(changes: Change[], { numbered = false } = {}): Promise<Outcome> {
    const kinds = [...new Set(changes.map(({ ref }) => ref.kind))]
    const keys = [this.#names.kinds, ...kinds.flatMap((kind) => this.#names.all(kind))]
    const args = changes.flatMap((change) => [
      kinds.indexOf(change.ref.kind) + 1,
      change.type,
      nameOf(change.ref),
      String(change.expect ?? ''),
      change.type === 'put' ? formatBody(change.ref.project, change.value, change.claims ?? []) : '',
    ])
    const answer = await this.#dialogue.ask(
      scripts.TRANSACT,
      keys,
      [numbered ? 1 : 0, kinds.length, ...kinds, ...args],
      true,
    )
    const [word, number, claimNumber, holder] = answer as [string, number, number, string]
    if (word !== 'ok')
      return { done: false, conflict: conflictOf(changes, word, number, claimNumber, holder) }
    if (number === 1) await this.#replication.wait(this.#dialogue.replicas)
    return numbered ? { done: true, invalidation: claimNumber } : { done: true }
  }

  async nextInvalidation(): Promise<number> {
    const [, number] = await this.#dialogue.ask(scripts.NEXT_INVALIDATION, [], [], true)
    return Number(number)
  }

  async lastInvalidation(): Promise<number> {
    const [, number] = await this.#dialogue.ask(scripts.LAST_INVALIDATION, [], [])
    return Number(number)
  }

  async snapshot(): Promise<Snapshot> {
    if (this.#closing) throw storeClosed()
    const place = { id: this.#identity.id, schema: this.schema.number }
    return snapshotRedis(this.#connection, this.#names, place, this.#dialogue.ask)
  }

  async restore(snapshot: Snapshot, { replace = false, over }: RestoreOptions = {}): Promise<void> {
    if (this.#closing) throw storeClosed()
    const how = { replace, over, known: this.#identity.id, schema: this.schema }
    await restoreRedis(this.#connection, this.#names, snapshot, how)
    this.#identity.adopt(snapshot.id)
    await this.#replication.wait(this.#dialogue.replicas)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    clearInterval(this.#looking)
    await this.#dialogue.close()
    this.#replication.close()
    this.#connection.close()
  }

  #records<T>(kind: string, answer: unknown[]): StoredRecord<T>[] {
    const [, names, bodies] = answer as [string, string[], string[]]
    return names.flatMap((name, at) => {
      const body = bodies[at] ?? ''
      return body === '' ? [] : [this.#record<T>({ kind, ...readName(name) }, body)]
    })
  }

  #record<T>({ kind, project, id }: RecordRef, body: string): StoredRecord<T> {
    const { value, version } = readBody({ kind, project, id }, body)
    return { kind, project, id, value: value as T, version }
  }
}
