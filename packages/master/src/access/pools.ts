// Pools: sets of targets that are granted together. Whoever loses a target by a change here is asked about again.
import { SshoalError } from '@sshoal/shared'

import type { Change, Conflict } from '../store/store.ts'
import type { Directory, Page } from './directory.ts'
import { GRANT, makeGrant, putGrant, removeGrant, type Grant } from './grant.ts'
import type { Actor, Entry, Ledger } from './ledger.ts'
import {
  changePool,
  makePool,
  memberRef,
  POOL,
  poolRef,
  putPool,
  type Pool,
  type PoolSettings,
} from './pool.ts'
import type { Revocation } from './revocation.ts'
import { putTarget, targetRef, type Target } from './target.ts'

export interface NewPool extends PoolSettings {
  name: string
  /** Names or UUIDs of targets. */
  members?: string[]
  /** Who may reach it: ids, logins or e-mails. */
  users?: string[]
}

export interface PoolsDeps {
  ledger: Ledger
  directory: Directory
  revocation: Revocation
}

export const MAX_MEMBERS = 5_000
const MAX_POOLS_OF_TARGET = 1_000
const AT_ONCE = 200

export class Pools {
  readonly #deps: PoolsDeps

  constructor(deps: PoolsDeps) {
    this.#deps = deps
  }

  /** Throws INVALID_*, POOL_TAKEN, UNKNOWN_TARGET, UNKNOWN_USER. */
  create(project: string, wanted: NewPool, by: Actor): Promise<Pool> {
    const { ledger, directory } = this.#deps
    return ledger.change(async () => {
      const now = ledger.now()
      const pool = makePool(project, wanted, now)
      const names = [...new Set(wanted.members)]
      if (names.length > MAX_MEMBERS)
        throw new SshoalError(
          'INVALID_MEMBERS',
          `at most ${MAX_MEMBERS} members at once; a selector has any number`,
        )
      const changes: Change[] = [putPool(pool, 'absent')]
      const members = new Set<string>()
      for (const name of names) {
        const { value: target, version } = await directory.target(project, name)
        if (members.has(target.name)) continue
        members.add(target.name)
        changes.push(...joining(pool, target, version))
      }
      const entries = [
        entryOf('pool.created', pool, by, { after: { ...shownPool(pool), members: [...members] } }),
      ]
      for (const text of new Set(wanted.users)) {
        const { value: user } = await directory.user(project, text)
        const grant = makeGrant(project, user.id, { kind: 'pool', id: pool.id, name: pool.name }, {}, now)
        changes.push(...putGrant(grant, 'absent'))
        const about = { user: user.login, userId: user.id, grant: grant.id }
        entries.push(entryOf('grant.created', pool, by, { ...about, after: grant }))
      }
      return { changes, entries, result: pool, refuse: taken }
    })
  }

  /** Throws UNKNOWN_POOL. */
  async get(project: string, name: string): Promise<Pool> {
    return (await this.#deps.directory.pool(project, name)).value
  }

  list(project: string, cursor: string | undefined, limit: number): Promise<Page<Pool>> {
    return this.#deps.directory.page<Pool>(POOL, project, cursor, limit)
  }

  /** Throws UNKNOWN_POOL, INVALID_*. */
  async change(project: string, name: string, settings: PoolSettings, by: Actor): Promise<Pool> {
    const { ledger, directory, revocation } = this.#deps
    const { result, number } = await ledger.revoke(async () => {
      const { value: before, version } = await directory.pool(project, name)
      const after = changePool(before, settings)
      const told = { before: shownPool(before), after: shownPool(after) }
      return {
        changes: [putPool(after, version)],
        entries: [entryOf('pool.changed', after, by, told)],
        harmless: JSON.stringify(before.selector) === JSON.stringify(after.selector),
        result: after,
      }
    })
    if (number !== undefined) await revocation.on(project, [result.id], number)
    return result
  }

  /** With its grants. Resolves with the number of what was cut. Throws UNKNOWN_POOL. */
  async remove(project: string, name: string, by: Actor): Promise<number> {
    const { ledger, directory, revocation } = this.#deps
    const { result: pool, number } = await ledger.revoke(async () => {
      const { value: pool, version } = await directory.pool(project, name)
      return {
        changes: [{ type: 'remove', ref: poolRef(project, pool.name), expect: version }],
        entries: [entryOf('pool.removed', pool, by, { before: shownPool(pool) })],
        result: pool,
      }
    })
    // From here on nobody reaches anything by it; what follows tidies up.
    const cut = await revocation.on(project, [pool.id], number)
    await this.#dropGrants(pool)
    await this.#dropMembers(pool)
    return cut
  }

  /** One that is there already changes nothing. Throws UNKNOWN_POOL, UNKNOWN_TARGET. */
  addMember(project: string, name: string, text: string, by: Actor): Promise<Pool> {
    const { ledger, directory } = this.#deps
    return ledger.change(async () => {
      const { value: pool } = await directory.pool(project, name)
      const { value: target, version } = await directory.target(project, text)
      if (target.pools.includes(pool.id)) return { changes: [], entries: [], result: pool }
      return {
        changes: joining(pool, target, version),
        entries: [entryOf('pool.member-added', pool, by, { target: target.name })],
        result: pool,
      }
    })
  }

  /** Resolves with the number of what was cut. Throws UNKNOWN_POOL, UNKNOWN_TARGET, UNKNOWN_MEMBER. */
  async removeMember(project: string, name: string, text: string, by: Actor): Promise<number> {
    const { ledger, directory, revocation } = this.#deps
    const { result: pool, number } = await ledger.revoke(async () => {
      const { value: pool } = await directory.pool(project, name)
      const { value: target, version } = await directory.target(project, text)
      if (!target.pools.includes(pool.id))
        throw new SshoalError('UNKNOWN_MEMBER', `${target.name} was not made a member of ${pool.name}`)
      return {
        changes: leaving(pool, target, version),
        entries: [entryOf('pool.member-removed', pool, by, { target: target.name })],
        result: pool,
      }
    })
    return revocation.on(project, [pool.id], number)
  }

  async #dropGrants(pool: Pool): Promise<void> {
    const { ledger, directory } = this.#deps
    for (const { user, grant } of await directory.grantsOn(pool.project, pool.id)) {
      const found = await ledger.store.get<Grant>({
        kind: GRANT,
        project: pool.project,
        id: `${user}.${grant}`,
      })
      if (found) await ledger.store.transact(removeGrant(found.value))
    }
  }

  async #dropMembers(pool: Pool): Promise<void> {
    const { ledger, directory } = this.#deps
    for (;;) {
      const { records: names } = await directory.members(pool, undefined, AT_ONCE)
      if (names.length === 0) return
      await Promise.all(
        names.map((name) =>
          ledger.change(async () => {
            const found = await ledger.store.get<Target>(targetRef(pool.project, name))
            const changes: Change[] = found
              ? leaving(pool, found.value, found.version)
              : [{ type: 'remove', ref: memberRef(pool, name) }]
            return { changes, entries: [], result: undefined }
          }),
        ),
      )
    }
  }
}

function joining(pool: Pool, target: Target, version: number): Change[] {
  if (target.pools.length >= MAX_POOLS_OF_TARGET)
    throw new SshoalError('INVALID_MEMBERS', `${target.name} is in ${MAX_POOLS_OF_TARGET} pools already`)
  return [
    putTarget({ ...target, pools: [...target.pools, pool.id] }, version),
    { type: 'put', ref: memberRef(pool, target.name), value: {} },
  ]
}

function leaving(pool: Pool, target: Target, version: number): Change[] {
  return [
    putTarget({ ...target, pools: target.pools.filter((id) => id !== pool.id) }, version),
    { type: 'remove', ref: memberRef(pool, target.name) },
  ]
}

function entryOf(type: string, { project, name }: Pool, by: Actor, more: Partial<Entry>): Entry {
  return { project, type, by, pool: name, ...more }
}

function shownPool({ name, title, selector }: Pool): object {
  return { name, ...(title === undefined ? {} : { title }), ...(selector === undefined ? {} : { selector }) }
}

function taken(conflict: Conflict): SshoalError | undefined {
  return conflict.reason === 'exists' && conflict.ref.kind === POOL
    ? new SshoalError('POOL_TAKEN', `there is a pool "${conflict.ref.id}" already`)
    : undefined
}
