// Whether what answers is still the store that it was. Holds the id that this master goes by, and the state that follows.
import { SshoalError, type Log } from '@sshoal/shared'

import { checkSchema, type Schema } from './schema.ts'
import type { StoreState } from './store.ts'

export interface Seen {
  /** '': there is no store. */
  id: string
  schema: number
  /** It was said, or made by an import, to follow the one that is known. */
  replaces: boolean
}

/** `older`: it is ours, and must be migrated before anything is read or written. */
export type Sameness = 'same' | 'older' | 'changed'

export class RedisIdentity {
  readonly #where: string
  readonly #schema: Schema
  readonly #log: Log
  readonly #remember: (id: string) => void
  readonly #listeners = new Set<(state: StoreState, id: string) => void>()
  #id: string
  #state: StoreState = 'away'

  /** `known`: '' where no store was known before. */
  constructor(where: string, known: string, schema: Schema, log: Log, remember: (id: string) => void) {
    this.#where = where
    this.#id = known
    this.#schema = schema
    this.#log = log
    this.#remember = remember
  }

  get id(): string {
    return this.#id
  }

  get state(): StoreState {
    return this.#state
  }

  onState(listener: (state: StoreState, id: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The known store answered. */
  met(): void {
    this.#set('ok', this.#id)
  }

  away(): void {
    if (this.#state === 'ok') this.#set('away', this.#id)
  }

  /** This is the store from now on. */
  adopt(id: string): void {
    this.#set('ok', id)
  }

  /** `changed`: another store answered, which nobody said should follow. Throws STORE_TOO_NEW. */
  look({ id, schema, replaces }: Seen): Sameness {
    try {
      checkSchema(schema, this.#schema, 'name another --redis')
    } catch (error) {
      // A newer master was here: what this one remembers goes on, as if the store were away.
      this.away()
      throw error
    }
    if (id === this.#id || (id !== '' && (this.#id === '' || replaces))) {
      const older = schema < this.#schema.number
      this.#set(older ? 'away' : 'ok', id)
      return older ? 'older' : 'same'
    }
    if (this.#state !== 'changed')
      this.#log.error(
        { redis: this.#where, known: this.#id, found: id === '' ? 'an empty store' : id },
        'Redis has another store than before: nothing is read or written until an import or `sshoal store accept`',
      )
    this.#set('changed', this.#id)
    return 'changed'
  }

  changedError(): SshoalError {
    return new SshoalError(
      'STORE_CHANGED',
      `${this.#where} has not the store that was known (${this.#id}): import a backup, or say \`sshoal store accept\``,
    )
  }

  #set(state: StoreState, id: string): void {
    const before = { state: this.#state, id: this.#id }
    this.#state = state
    this.#id = id
    if (before.id !== id) this.#remember(id)
    if (before.state === state && before.id === id) return
    for (const listener of this.#listeners) listener(state, id)
  }
}
