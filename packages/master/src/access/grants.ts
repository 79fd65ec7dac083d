// Grants: who may reach what. Made for a user and a pool or a target that are there; gone with either.
import { SshoalError } from '@sshoal/shared'

import type { Conflict } from '../store/store.ts'
import type { Directory, Page } from './directory.ts'
import {
  changeGrant,
  GRANT,
  makeGrant,
  putGrant,
  removeGrant,
  type Grant,
  type GrantedTo,
  type GrantSettings,
} from './grant.ts'
import type { Actor, Entry, Ledger } from './ledger.ts'
import type { Revocation } from './revocation.ts'
import { userRef, type User } from './user.ts'

export interface NewGrant extends GrantSettings {
  /** An id, a login or an e-mail. */
  user: string
  pool?: string
  target?: string
}

export interface GrantFilter {
  user?: string | undefined
  pool?: string | undefined
  target?: string | undefined
  cursor?: string | undefined
  limit: number
}

export interface GrantsDeps {
  ledger: Ledger
  directory: Directory
  revocation: Revocation
}

export class Grants {
  readonly #deps: GrantsDeps

  constructor(deps: GrantsDeps) {
    this.#deps = deps
  }

  /** Throws INVALID_*, UNKNOWN_USER, UNKNOWN_POOL, UNKNOWN_TARGET, GRANT_EXISTS. */
  create(project: string, wanted: NewGrant, by: Actor): Promise<Grant> {
    const { ledger, directory } = this.#deps
    return ledger.change(async () => {
      const { value: user } = await directory.user(project, wanted.user)
      const on = await this.#granted(project, wanted)
      const grant = makeGrant(project, user.id, on, wanted, ledger.now())
      return {
        changes: putGrant(grant, 'absent'),
        entries: [entryOf('grant.created', grant, user.login, by, { after: shownGrant(grant) })],
        result: grant,
        refuse: taken,
      }
    })
  }

  /** Throws UNKNOWN_GRANT. */
  async get(project: string, id: string): Promise<Grant> {
    return (await this.#deps.directory.grant(project, id)).value
  }

  /** Throws UNKNOWN_USER, UNKNOWN_POOL, UNKNOWN_TARGET, INVALID_CURSOR. */
  async list(project: string, filter: GrantFilter): Promise<Page<Grant>> {
    const { directory } = this.#deps
    const { cursor, limit } = filter
    const user = filter.user === undefined ? undefined : (await directory.user(project, filter.user)).id
    const isAsked = filter.pool !== undefined || filter.target !== undefined
    const on = isAsked ? (await this.#granted(project, filter)).id : undefined
    const after = cursor === undefined ? {} : { after: cursor }
    if (on === undefined || user !== undefined) {
      const prefix = user === undefined ? {} : { prefix: `${user}.` }
      const page = await directory.store.scan<Grant>({ kind: GRANT, project, limit, ...prefix, ...after })
      const grants = page.records.map(({ value }) => value)
      return { records: grants.filter((grant) => on === undefined || grant.on.id === on), next: page.next }
    }
    const page = await directory.store.scan<{ user: string; grant: string }>({
      kind: 'grant-on',
      project,
      prefix: `${on}.`,
      limit,
      ...after,
    })
    const found = await Promise.all(
      page.records.map(({ value }) =>
        directory.store.get<Grant>({ kind: GRANT, project, id: `${value.user}.${value.grant}` }),
      ),
    )
    return { records: found.flatMap((record) => (record ? [record.value] : [])), next: page.next }
  }

  /** Throws UNKNOWN_GRANT, INVALID_*, GRANT_EXISTS. */
  async change(project: string, id: string, settings: GrantSettings, by: Actor): Promise<Grant> {
    const { ledger, directory, revocation } = this.#deps
    const { result: grant, number } = await ledger.revoke(async () => {
      const { value: before, version } = await directory.grant(project, id)
      const after = changeGrant(before, settings, ledger.now())
      const told = { before: shownGrant(before), after: shownGrant(after) }
      return {
        changes: putGrant(after, version),
        entries: [entryOf('grant.changed', after, await this.#login(after), by, told)],
        result: after,
        refuse: taken,
      }
    })
    await revocation.of(project, [grant.user], number)
    return grant
  }

  /** Resolves with the number of what was cut. Throws UNKNOWN_GRANT. */
  async remove(project: string, id: string, by: Actor): Promise<number> {
    const { ledger, directory, revocation } = this.#deps
    const { result: grant, number } = await ledger.revoke(async () => {
      const { value: grant, version } = await directory.grant(project, id)
      return {
        changes: removeGrant(grant, version),
        entries: [
          entryOf('grant.removed', grant, await this.#login(grant), by, { before: shownGrant(grant) }),
        ],
        result: grant,
      }
    })
    return revocation.of(project, [grant.user], number)
  }

  async #login({ project, user }: Grant): Promise<string | undefined> {
    return (await this.#deps.directory.store.get<User>(userRef(project, user)))?.value.login
  }

  async #granted(
    project: string,
    { pool, target }: { pool?: string | undefined; target?: string | undefined },
  ): Promise<GrantedTo> {
    if ((pool === undefined) === (target === undefined))
      throw new SshoalError('INVALID_GRANT', 'a grant is on a pool or on a target: name one of them')
    const { directory } = this.#deps
    const kind = pool === undefined ? 'target' : 'pool'
    const { value } =
      pool === undefined ? await directory.target(project, target ?? '') : await directory.pool(project, pool)
    return { kind, id: value.id, name: value.name }
  }
}

function entryOf(
  type: string,
  grant: Grant,
  login: string | undefined,
  by: Actor,
  more: Partial<Entry>,
): Entry {
  const { project, user, on, id } = grant
  return {
    project,
    type,
    by,
    ...(login === undefined ? {} : { user: login }),
    userId: user,
    [on.kind]: on.name,
    grant: id,
    ...more,
  }
}

function shownGrant({ on, account, forwards, until }: Grant): object {
  return {
    [on.kind]: on.name,
    ...(account === undefined ? {} : { account }),
    forwards,
    ...(until === undefined ? {} : { until: new Date(until).toISOString() }),
  }
}

function taken(conflict: Conflict): SshoalError | undefined {
  if (conflict.reason !== 'taken' || conflict.claim.index !== 'same') return undefined
  return new SshoalError('GRANT_EXISTS', 'they have such a grant already; change that one', {
    details: { grant: conflict.by.id.slice(conflict.by.id.indexOf('.') + 1) },
  })
}
