// The store in Redis, for any number of masters: every call is one script, so it sees and leaves one consistent state,
// and the script itself looks whether it still is the same store. What survives a crash of Redis is what its append-only
// file holds (`appendfsync`); what is taken away waits for replicas.
import { randomUUID } from 'node:crypto'

import { SshoalError, type Log } from '@sshoal/shared'

import { RedisConnection, type RedisAccess } from './redis-connection.ts'
import { checkHealth } from './redis-health.ts'
import { RedisIdentity } from './redis-identity.ts'
import {
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
import type { RedisScript } from './redis-scripts.ts'
import { restoreRedis, snapshotRedis, type Ask } from './redis-snapshot.ts'
import {
  formatCursor,
  parseCursor,
  SCHEMA,
  storeClosed,
  type Change,
  type Claim,
  type Outcome,
  type Page,
  type RecordRef,
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
}

/** A look at identity, clock and replicas. */
const LOOK_EVERY_MS = 1_000
/** An answer that says late although it came so fast means another clock, not a slow server. */
const FAST_MS = 500
const ATTEMPTS = 4

/**
 * Opens or makes the store. With another store than the known one it opens as `changed`.
 * Throws STORE_UNAVAILABLE after 5 s, STORE_REFUSED, STORE_EVICTS, STORE_TOO_NEW, REDIS_TLS.
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
  readonly #connection: RedisConnection
  readonly #names: RedisNames
  readonly #identity: RedisIdentity
  readonly #replication: Replication
  readonly #looking: NodeJS.Timeout
  readonly #asked = new Set<Promise<unknown>>()
  /** Redis' clock less ours, ms. */
  #clock = 0
  #closing: Promise<void> | undefined

  constructor(connection: RedisConnection, names: RedisNames, options: RedisStoreOptions) {
    this.#connection = connection
    this.#names = names
    const remember = (id: string) => options.remember?.(id)
    this.#identity = new RedisIdentity(connection.where, options.known ?? '', options.log, remember)
    this.#replication = new Replication(connection, names, options.log)
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

  onState(listener: (state: StoreState, id: string) => void): () => void {
    return this.#identity.onState(listener)
  }

  /** Asks who it is; the state and the clock follow. */
  async look(): Promise<void> {
    const begin = performance.now()
    const known = this.#identity.id
    const answer = await this.#run(scripts.LOOK, [this.#names.meta], [known, SCHEMA, randomUUID()])
    const [id, schema, replaces, now, replicas] = answer as [string, string, number, number, number]
    const end = performance.now()
    if (end - begin < FAST_MS) this.#clock = now - (begin + end) / 2
    this.#replication.replicas = replicas
    if (known === this.#identity.id)
      this.#identity.look({ id, schema: Number(schema), replaces: replaces === 1 })
  }

  async accept(): Promise<string> {
    const answer = await this.#run(
      scripts.ACCEPT,
      [this.#names.meta],
      [this.#identity.id, SCHEMA, randomUUID()],
    )
    const [word, id, schema] = answer as [string, string, string]
    if (word !== 'ok') this.#identity.look({ id, schema: Number(schema), replaces: false })
    this.#identity.adopt(id)
    return id
  }

  async get<T>(ref: RecordRef): Promise<StoredRecord<T> | undefined> {
    const [, body] = await this.#ask(scripts.GET, [this.#names.records(ref.kind)], [nameOf(ref)])
    return body === '' ? undefined : this.#record<T>(ref, String(body))
  }

  async find<T>(kind: string, claim: Pick<Claim, 'index' | 'value'>): Promise<StoredRecord<T>[]> {
    const keys = [this.#names.records(kind), this.#names.claims(kind)]
    const name = `${escapePart(claim.index)}\0${escapePart(claim.value)}\0`
    return this.#records<T>(kind, await this.#ask(scripts.FIND, keys, [name]))
  }

  async claims(kind: string, index: string): Promise<{ value: string; ref: RecordRef }[]> {
    const [, members] = await this.#ask(
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
    const answer = await this.#ask(scripts.PAGE, keys, [...boundsOf(scan), scan.limit + 1])
    const records = this.#records<T>(scan.kind, answer)
    if (records.length <= scan.limit) return { records, next: null }
    const page = records.slice(0, scan.limit)
    const last = page.at(-1)
    return { records: page, next: last ? formatCursor(last) : null }
  }

  async transact(changes: Change[]): Promise<Outcome> {
    const kinds = [...new Set(changes.map(({ ref }) => ref.kind))]
    const keys = [this.#names.kinds, ...kinds.flatMap((kind) => this.#names.all(kind))]
    const args = changes.flatMap((change) => [
      kinds.indexOf(change.ref.kind) + 1,
      change.type,
      nameOf(change.ref),
      String(change.expect ?? ''),
      change.type === 'put' ? formatBody(change.ref.project, change.value, change.claims ?? []) : '',
    ])
    const answer = await this.#ask(scripts.TRANSACT, keys, [kinds.length, ...kinds, ...args], true)
    const [word, number, claimNumber, holder] = answer as [string, number, number, string]
    if (word !== 'ok')
      return { done: false, conflict: conflictOf(changes, word, number, claimNumber, holder) }
    if (number === 1) await this.#replication.wait()
    return { done: true }
  }

  async nextInvalidation(): Promise<number> {
    const [, number] = await this.#ask(scripts.NEXT_INVALIDATION, [], [], true)
    return Number(number)
  }

  async lastInvalidation(): Promise<number> {
    const [, number] = await this.#ask(scripts.LAST_INVALIDATION, [], [])
    return Number(number)
  }

  async snapshot(): Promise<Snapshot> {
    if (this.#closing) throw storeClosed()
    return snapshotRedis(this.#connection, this.#names, this.#identity.id, this.#ask)
  }

  async restore(snapshot: Snapshot, { replace = false } = {}): Promise<void> {
    if (this.#closing) throw storeClosed()
    await restoreRedis(this.#connection, this.#names, snapshot, { replace, known: this.#identity.id })
    this.#identity.adopt(snapshot.id)
    if (this.#replication.replicas > 0) await this.#replication.wait()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    clearInterval(this.#looking)
    await Promise.allSettled(this.#asked)
    this.#replication.close()
    this.#connection.close()
  }

  /** A script that begins with the look whether it still is the same store; `write`: and whether it still is time. */
  readonly #ask: Ask = async (script, keys, args, write = false, connection = this.#connection) => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const begin = performance.now()
      const deadline = write ? [Math.round(begin + this.#clock + connection.callMs)] : []
      const lead = [this.#identity.id, SCHEMA, ...deadline]
      const answer = await this.#run(script, [this.#names.meta, ...keys], [...lead, ...args], connection)
      const [word, id, schema, replaces] = answer
      if (word === 'other') {
        const seen = { id: String(id), schema: Number(schema), replaces: replaces === 1 }
        if (!this.#identity.look(seen)) throw this.#identity.changedError()
      } else if (word === 'late') {
        if (performance.now() - begin > FAST_MS) break
        this.#clock = Number(id) - performance.now()
      } else {
        this.#identity.met()
        return answer
      }
    }
    throw new SshoalError('STORE_UNAVAILABLE', `${this.#connection.where} answers too late`)
  }

  async #run(
    script: RedisScript,
    keys: string[],
    args: (string | number | Buffer)[],
    connection = this.#connection,
  ): Promise<unknown[]> {
    if (this.#closing) throw storeClosed()
    const asked = connection.run(script, keys, args)
    this.#asked.add(asked)
    try {
      return (await asked) as unknown[]
    } catch (error) {
      if (error instanceof SshoalError && error.code === 'STORE_UNAVAILABLE') this.#identity.away()
      throw error
    } finally {
      this.#asked.delete(asked)
    }
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

/** As ZRANGEBYLEX has them. No text begins with the byte FF, so it stands behind everything with a prefix. */
function boundsOf({ project, prefix, after }: Scan): [from: string | Buffer, to: string | Buffer] {
  const begin = project === undefined ? undefined : `${escapePart(project)}\0${escapePart(prefix ?? '')}`
  const to = begin === undefined ? '+' : Buffer.concat([Buffer.from(`(${begin}`), Buffer.from([0xff])])
  const place = after === undefined ? undefined : nameOf(parseCursor(after))
  if (
    place !== undefined &&
    (begin === undefined || Buffer.compare(Buffer.from(place), Buffer.from(begin)) >= 0)
  )
    return [`(${place}`, to]
  return [begin === undefined ? '-' : `[${begin}`, to]
}

function conflictOf(changes: Change[], word: string, number: number, claimNumber: number, holder: string) {
  const change = changes[number - 1]
  if (!change)
    throw new SshoalError('STORE_FAILED', `the store says ${word} of a change that was not asked for`)
  const { ref } = change
  if (word === 'exists' || word === 'missing' || word === 'changed') return { reason: word, ref } as const
  const claim = change.type === 'put' ? change.claims?.[claimNumber - 1] : undefined
  if (word !== 'taken' || !claim)
    throw new SshoalError('STORE_FAILED', `the store says ${word}, which means nothing here`)
  return { reason: word, ref, claim, by: { kind: ref.kind, ...readName(holder) } } as const
}
