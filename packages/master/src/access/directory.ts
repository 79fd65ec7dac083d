// Finds people, pools, targets, gates and grants by what they are called. Reads the store, always: another master may have
// changed a thing a moment ago, and a right that is gone must not live on in a memory.
import { SshoalError } from '@sshoal/shared'

import type { Store, StoredRecord } from '../store/store.ts'
import { gateRef, type Gate } from './gate.ts'
import { GRANT, GRANT_ON, type Grant } from './grant.ts'
import { isUuid } from './name.ts'
import { MEMBER, POOL, poolRef, type Pool } from './pool.ts'
import { TARGET, targetRef, type Target } from './target.ts'
import { USER, userRef, type User } from './user.ts'

export interface Page<T> {
  records: T[]
  next: string | null
}

const SCAN_PAGE = 500

export class Directory {
  readonly store: Store

  constructor(store: Store) {
    this.store = store
  }

  /** By id, login or e-mail. Throws UNKNOWN_USER. */
  async user(project: string, text: string): Promise<StoredRecord<User>> {
    const wanted = text.toLowerCase()
    const found = isUuid(wanted)
      ? await this.store.get<User>(userRef(project, wanted))
      : await this.#claimed<User>(USER, project, wanted.includes('@') ? 'email' : 'login', wanted)
    return found ?? unknown('UNKNOWN_USER', 'user', text)
  }

  /** Throws UNKNOWN_POOL. */
  async pool(project: string, name: string): Promise<StoredRecord<Pool>> {
    const found = await this.store.get<Pool>(poolRef(project, name.toLowerCase()))
    return found ?? unknown('UNKNOWN_POOL', 'pool', name)
  }

  async poolOfId(project: string, id: string): Promise<Pool | undefined> {
    return (await this.#claimed<Pool>(POOL, project, 'id', id))?.value
  }

  /** By name or UUID. Throws UNKNOWN_TARGET. */
  async target(project: string, text: string): Promise<StoredRecord<Target>> {
    return (await this.findTarget(project, text)) ?? unknown('UNKNOWN_TARGET', 'target', text)
  }

  async findTarget(project: string, text: string): Promise<StoredRecord<Target> | undefined> {
    const name = text.toLowerCase()
    const named = await this.store.get<Target>(targetRef(project, name))
    if (named || !isUuid(name)) return named
    return this.#claimed<Target>(TARGET, project, 'uuid', name)
  }

  /** Throws UNKNOWN_GATE. */
  async gate(project: string, name: string): Promise<StoredRecord<Gate>> {
    const found = await this.store.get<Gate>(gateRef(project, name.toLowerCase()))
    return found ?? unknown('UNKNOWN_GATE', 'gate', name)
  }

  /** Throws UNKNOWN_GRANT. */
  async grant(project: string, id: string): Promise<StoredRecord<Grant>> {
    const found = await this.#claimed<Grant>(GRANT, project, 'id', id.toLowerCase())
    return found ?? unknown('UNKNOWN_GRANT', 'grant', id)
  }

  grantsOf(project: string, user: string): Promise<StoredRecord<Grant>[]> {
    return this.all<Grant>(GRANT, project, `${user}.`)
  }

  /** Of a pool or a target: the users' ids and the grants'. */
  async grantsOn(project: string, on: string): Promise<{ user: string; grant: string }[]> {
    const found = await this.all<{ user: string; grant: string }>(GRANT_ON, project, `${on}.`)
    return found.map(({ value }) => value)
  }

  /** Names of the members by hand. */
  async members(pool: Pool, cursor: string | undefined, limit: number): Promise<Page<string>> {
    const prefix = `${pool.id}.`
    const page = await this.store.scan({
      kind: MEMBER,
      project: pool.project,
      prefix,
      limit,
      ...(cursor === undefined ? {} : { after: cursor }),
    })
    return { records: page.records.map(({ id }) => id.slice(prefix.length)), next: page.next }
  }

  async page<T>(kind: string, project: string, cursor: string | undefined, limit: number): Promise<Page<T>> {
    const after = cursor === undefined ? {} : { after: cursor }
    const page = await this.store.scan<T>({ kind, project, limit, ...after })
    return { records: page.records.map(({ value }) => value), next: page.next }
  }

  async all<T>(kind: string, project: string, prefix?: string): Promise<StoredRecord<T>[]> {
    const found: StoredRecord<T>[] = []
    for await (const records of this.pages<T>(kind, project, prefix)) found.push(...records)
    return found
  }

  /** Leaves room for others in between. */
  async *pages<T>(kind: string, project: string, prefix?: string): AsyncGenerator<StoredRecord<T>[], void> {
    let after: string | undefined
    do {
      const page = await this.store.scan<T>({
        kind,
        project,
        limit: SCAN_PAGE,
        ...(prefix === undefined ? {} : { prefix }),
        ...(after === undefined ? {} : { after }),
      })
      yield page.records
      after = page.next ?? undefined
      if (after !== undefined) await new Promise((resolve) => setImmediate(resolve))
    } while (after !== undefined)
  }

  async #claimed<T>(
    kind: string,
    project: string,
    index: string,
    value: string,
  ): Promise<StoredRecord<T> | undefined> {
    const found = await this.store.find<T>(kind, { index, value })
    return found.find((record) => record.project === project)
  }
}

function unknown(code: string, what: string, text: string): never {
  throw new SshoalError(code, `there is no ${what} ${JSON.stringify(text.slice(0, 100))} here`)
}
