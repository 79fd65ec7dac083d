// People and their keys: create, change, remove. What a person may reach is in grants.ts.
import { randomUUID } from 'node:crypto'

import { SshoalError } from '@sshoal/shared'

import type { NewKey } from '../registry/device.ts'
import type { Conflict, StoredRecord } from '../store/store.ts'
import type { Directory, Page } from './directory.ts'
import { makeGrant, putGrant, removeGrant } from './grant.ts'
import type { Actor, Entry, Ledger, Revoked } from './ledger.ts'
import { readTitle } from './name.ts'
import type { Revocation } from './revocation.ts'
import {
  changeUser,
  checkUserKeys,
  loginOf,
  makeUserKey,
  putUser,
  readEmail,
  USER,
  userRef,
  type User,
  type UserKey,
  type UserSettings,
} from './user.ts'

export interface NewUser {
  email: string
  login?: string
  name?: string
  keys?: (string | NewKey)[]
  /** Names of pools that they may reach. */
  pools?: string[]
}

export interface UsersDeps {
  ledger: Ledger
  directory: Directory
  revocation: Revocation
}

const AT_ONCE = 200

export class Users {
  readonly #ledger: Ledger
  readonly #directory: Directory
  readonly #revocation: Revocation
  #removed: (user: User) => Promise<void> = async () => {}

  constructor({ ledger, directory, revocation }: UsersDeps) {
    this.#ledger = ledger
    this.#directory = directory
    this.#revocation = revocation
  }

  /** Hears of every user who was removed, before the remover does. */
  onRemoved(listener: (user: User) => Promise<void>): void {
    this.#removed = listener
  }

  /** Throws INVALID_*, UNKNOWN_POOL, EMAIL_TAKEN, LOGIN_TAKEN, KEY_TAKEN, TOO_MANY_KEYS. */
  async create(project: string, wanted: NewUser, by: Actor): Promise<User> {
    const { result: user, number } = await this.#ledger.revoke(async () => {
      const now = this.#ledger.now()
      const keys = (wanted.keys ?? []).map((key) => makeUserKey(typeof key === 'string' ? { key } : key, now))
      const email = readEmail(wanted.email)
      const bare: User = {
        id: randomUUID(),
        project,
        email,
        login: '',
        keys: [...new Map(keys.map((key) => [key.fingerprint, key])).values()],
        createdAt: now,
      }
      const login = wanted.login ?? loginOf(email)
      const name = wanted.name === undefined ? {} : { name: wanted.name }
      const user = checkUserKeys(changeUser(bare, { login, ...name }))
      const pools = await Promise.all(
        [...new Set(wanted.pools)].map((pool) => this.#directory.pool(project, pool)),
      )
      const grants = pools.map(({ value: { id, name } }) =>
        makeGrant(project, user.id, { kind: 'pool', id, name }, {}, now),
      )
      const entries: Entry[] = [
        this.#entry('user.created', user, by, { after: shownUser(user) }),
        ...grants.map((grant) =>
          this.#entry('grant.created', user, by, { after: grant, grant: grant.id, pool: grant.on.name }),
        ),
      ]
      const changes = [putUser(user, 'absent'), ...grants.flatMap((grant) => putGrant(grant, 'absent'))]
      return { changes, entries, harmless: user.keys.length === 0, result: user, refuse: taken }
    })
    await this.#revocation.keys(fingerprintsOf(user), number)
    return user
  }

  /** By id, login or e-mail. Throws UNKNOWN_USER. */
  async get(project: string, text: string): Promise<User> {
    return (await this.#directory.user(project, text)).value
  }

  async find(project: string, text: string): Promise<User | undefined> {
    try {
      return await this.get(project, text)
    } catch (error) {
      if (error instanceof SshoalError && error.code === 'UNKNOWN_USER') return undefined
      throw error
    }
  }

  list(project: string, cursor: string | undefined, limit: number): Promise<Page<User>> {
    return this.#directory.page<User>(USER, project, cursor, limit)
  }

  /** Throws as `create`, and UNKNOWN_USER. */
  async change(project: string, text: string, settings: UserSettings, by: Actor): Promise<User> {
    const { result } = await this.#update(project, text, (user) => {
      const changed = changeUser(user, settings)
      return same(user, changed) ? user : { user: changed, type: 'user.changed', by, harmless: true }
    })
    return result
  }

  /** With keys, grants and tokens. Resolves with the number of what was cut. Throws UNKNOWN_USER. */
  async remove(project: string, text: string, by: Actor): Promise<number> {
    const { result: user, number } = await this.#ledger.revoke(async () => {
      const { value: user, version } = await this.#directory.user(project, text)
      return {
        changes: [{ type: 'remove', ref: userRef(project, user.id), expect: version }],
        entries: [this.#entry('user.removed', user, by, { before: shownUser(user) })],
        result: user,
      }
    })
    // From here on they reach nothing; what follows tidies up.
    const cut = await this.#revocation.keys(fingerprintsOf(user), number)
    const grants = await this.#directory.grantsOf(project, user.id)
    for (let at = 0; at < grants.length; at += AT_ONCE)
      await this.#ledger.store.transact(
        grants.slice(at, at + AT_ONCE).flatMap(({ value }) => removeGrant(value)),
      )
    await this.#removed(user)
    return cut
  }

  /** One that is there already changes nothing. Throws UNKNOWN_USER, INVALID_KEY, KEY_TAKEN, TOO_MANY_KEYS. */
  async addKey(project: string, text: string, wanted: NewKey, by: Actor): Promise<User> {
    const key = makeUserKey(wanted, this.#ledger.now())
    const { result: user, number } = await this.#update(project, text, (user) => {
      if (user.keys.some(({ fingerprint }) => fingerprint === key.fingerprint)) return user
      const changed = checkUserKeys({ ...user, keys: [...user.keys, key] })
      return { user: changed, type: 'key.added', by, fingerprint: key.fingerprint }
    })
    // Slaves may know the key as a device's alone.
    if (number !== undefined) await this.#revocation.keys([key.fingerprint], number)
    return user
  }

  /** Null takes the label away. Throws UNKNOWN_USER, UNKNOWN_KEY, INVALID_NAME. */
  async labelKey(
    project: string,
    text: string,
    fingerprint: string,
    label: string | null,
    by: Actor,
  ): Promise<User> {
    const { result: user, number } = await this.#update(project, text, (user) => {
      const { label: _before, ...bare } = keyOf(user, fingerprint)
      const key: UserKey = label === null ? bare : { ...bare, label: readTitle(label, 'a label') }
      const keys = user.keys.map((old) => (old.fingerprint === fingerprint ? key : old))
      return { user: { ...user, keys }, type: 'key.changed', by, fingerprint }
    })
    await this.#revocation.keys([fingerprint], number)
    return user
  }

  /** Resolves with the number of what was cut. Throws UNKNOWN_USER, UNKNOWN_KEY. */
  async removeKey(project: string, text: string, fingerprint: string, by: Actor): Promise<number> {
    const { number } = await this.#update(project, text, (user) => {
      const removed = keyOf(user, fingerprint)
      const keys = user.keys.filter((key) => key !== removed)
      return { user: { ...user, keys }, type: 'key.removed', by, fingerprint }
    })
    return this.#revocation.keys([fingerprint], number)
  }

  /** All keys away; the grants stay for new ones. Resolves with the number of what was cut. Throws UNKNOWN_USER. */
  async revoke(project: string, text: string, by: Actor): Promise<number> {
    let gone: string[] = []
    const { number } = await this.#update(project, text, (user) => {
      gone = fingerprintsOf(user)
      return { user: { ...user, keys: [] }, type: 'user.revoked', by }
    })
    return this.#revocation.keys(gone, number)
  }

  /** The user as they were: nothing changes. */
  #update(project: string, text: string, edit: (user: User) => User | Edited): Promise<Revoked<User>> {
    return this.#ledger.revoke(async () => {
      const { value: before, version }: StoredRecord<User> = await this.#directory.user(project, text)
      const edited = edit(before)
      if (!('type' in edited)) return { changes: [], entries: [], result: before }
      const { user, type, by, fingerprint, harmless = false } = edited
      const told = { before: shownUser(before), after: shownUser(user) }
      const entry = this.#entry(type, user, by, {
        ...told,
        ...(fingerprint === undefined ? {} : { fingerprint }),
      })
      return { changes: [putUser(user, version)], entries: [entry], harmless, result: user, refuse: taken }
    })
  }

  #entry(type: string, { project, id, login }: User, by: Actor, more: Partial<Entry>): Entry {
    return { project, type, by, user: login, userId: id, ...more }
  }
}

interface Edited {
  user: User
  type: string
  by: Actor
  fingerprint?: string
  /** Nobody may do less by it. */
  harmless?: boolean
}

/** As the audit keeps it: keys by fingerprint and label. */
function shownUser({ email, login, name, keys }: User): object {
  return {
    email,
    login,
    ...(name === undefined ? {} : { name }),
    keys: keys.map(({ fingerprint, label }) =>
      label === undefined ? fingerprint : `${fingerprint} ${label}`,
    ),
  }
}

function same(a: User, b: User): boolean {
  return a.email === b.email && a.login === b.login && a.name === b.name
}

function fingerprintsOf({ keys }: User): string[] {
  return keys.map(({ fingerprint }) => fingerprint)
}

function keyOf(user: User, fingerprint: string): UserKey {
  const key = user.keys.find((key) => key.fingerprint === fingerprint)
  if (!key) throw new SshoalError('UNKNOWN_KEY', `${user.login} has no key ${fingerprint.slice(0, 100)}`)
  return key
}

function taken(conflict: Conflict): SshoalError | undefined {
  if (conflict.reason !== 'taken') return undefined
  const { index, value } = conflict.claim
  if (index === 'email')
    return new SshoalError('EMAIL_TAKEN', `there is a user with the e-mail ${value} already`)
  if (index === 'login')
    return new SshoalError(
      'LOGIN_TAKEN',
      `there is a user with the login ${value} already; choose another login`,
    )
  if (index === 'fingerprint')
    return new SshoalError('KEY_TAKEN', `the key ${value} belongs to another user`, {
      details: { fingerprint: value },
    })
  return undefined
}
