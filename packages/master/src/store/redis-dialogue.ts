// Asks Redis in scripts that first look whether it still is the same store, and whether it still is time: what was refused
// here never happens there. Keeps Redis' clock. Knows identity and schema, and no records.
import { randomUUID } from 'node:crypto'

import { SshoalError, type HostPort } from '@sshoal/shared'

import { storeMoved } from './migrate-store.ts'
import type { RedisConnection } from './redis-connection.ts'
import type { RedisIdentity } from './redis-identity.ts'
import type { RedisNames } from './redis-names.ts'
import { ACCEPT, LOOK, type RedisScript } from './redis-scripts.ts'
import type { Ask } from './redis-snapshot.ts'
import type { Schema } from './schema.ts'
import { storeClosed } from './store.ts'

/** An answer that says late although it came so fast means another clock, not a slow server. */
const FAST_MS = 500
const ATTEMPTS = 4

export class RedisDialogue {
  /** How many replicas follow, as Redis said last, and where they are. */
  replicas = 0
  replicaNodes: readonly HostPort[] = []
  readonly #connection: RedisConnection
  readonly #names: RedisNames
  readonly #identity: RedisIdentity
  readonly #schema: Schema
  readonly #asked = new Set<Promise<unknown>>()
  /** Redis' clock less ours, ms, and by how much that may be wrong. */
  #clock = 0
  #doubt = 0
  #closed = false

  constructor(connection: RedisConnection, names: RedisNames, identity: RedisIdentity, schema: Schema) {
    this.#connection = connection
    this.#names = names
    this.#identity = identity
    this.#schema = schema
  }

  /** Asks who it is; the state and the clock follow. Answers its schema where that is older and must be migrated. */
  async look(): Promise<number | undefined> {
    const begin = performance.now()
    const known = this.#identity.id
    const answer = await this.#run(LOOK, [this.#names.meta], [known, this.#schema.number, randomUUID()])
    const [id, schema, replaces, now, replicas, places] = answer as [
      string,
      string,
      number,
      number,
      number,
      string[],
    ]
    this.#readClock(now, begin)
    this.replicas = replicas
    this.replicaNodes = places.map(readReplica)
    if (known !== this.#identity.id) return undefined
    const seen = { id, schema: Number(schema), replaces: replaces === 1 }
    return this.#identity.look(seen) === 'older' ? seen.schema : undefined
  }

  async accept(): Promise<string> {
    const args = [this.#identity.id, this.#schema.number, randomUUID()]
    const [word, id, schema] = (await this.#run(ACCEPT, [this.#names.meta], args)) as [string, string, string]
    if (word !== 'ok') this.#identity.look({ id, schema: Number(schema), replaces: false })
    this.#identity.adopt(id)
    return id
  }

  /** `keys` and `args` are those behind the meta hash, the id, the schema and the deadline of a `write`. */
  readonly ask: Ask = (...asked) => this.askAs(this.#schema.number)(...asked)

  /** Of a store of this schema. Throws STORE_MOVED where it is no longer of it. */
  askAs(schema: number): Ask {
    return (script, keys, args, write = false, connection = this.#connection) =>
      this.#ask(schema, script, keys, args, write, connection)
  }

  /** What was asked is waited for, and nothing is asked any more. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled(this.#asked)
  }

  async #ask(
    schema: number,
    ...[script, keys, args, write, connection]: Required<Parameters<Ask>>
  ): Promise<unknown[]> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const begin = performance.now()
      const deadline = Math.floor(begin + this.#clock - this.#doubt + connection.callMs)
      const lead = [this.#identity.id, schema, ...(write ? [deadline] : [])]
      const answer = await this.#run(script, [this.#names.meta, ...keys], [...lead, ...args], connection)
      const [word, id, found, replaces] = answer
      if (word === 'other') {
        const seen = { id: String(id), schema: Number(found), replaces: replaces === 1 }
        const sameness = this.#identity.look(seen)
        if (sameness === 'changed') throw this.#identity.changedError()
        if (schema !== this.#schema.number) throw storeMoved()
        if (sameness === 'older') throw this.#migrating(seen.schema)
      } else if (word === 'late') {
        if (!this.#readClock(Number(id), begin)) break
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
    if (this.#closed) throw storeClosed()
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

  /** `now`: what Redis answered to what was asked at `begin`. False: it came too slowly to say anything. */
  #readClock(now: number, begin: number): boolean {
    const end = performance.now()
    if (end - begin > FAST_MS) return false
    this.#clock = now - (begin + end) / 2
    this.#doubt = (end - begin) / 2
    return true
  }

  #migrating(found: number): SshoalError {
    return new SshoalError(
      'STORE_UNAVAILABLE',
      `${this.#connection.where} has a store of schema ${Math.floor(found)}, which is being brought to ${this.#schema.number}`,
    )
  }
}

/** `192.0.2.1 6379`. */
function readReplica(text: string): HostPort {
  const [host = '', port = ''] = text.split(' ')
  return { host, port: Number(port) }
}
