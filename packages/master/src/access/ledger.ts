// Every change of people, pools, targets, gates and grants goes through here: it is written together with its line in the
// audit, or not at all, and then told as an event. Rooms that write by themselves (devices, tokens) get the line from here.
// Knows what a change is, not what it means.
import { SshoalError } from '@sshoal/shared'

import type { Change, Conflict, Store } from '../store/store.ts'
import { putAudit, type AuditAbout } from './audit-record.ts'

/** Whose token asked for it. */
export interface Actor {
  token: string
  label: string
}

export interface Entry extends AuditAbout {
  project: string
  /** `user.created`, `grant.removed`, … */
  type: string
  by: Actor
  before?: unknown
  after?: unknown
}

/** For a room that writes by itself. */
export interface Line {
  /** To be written in one step with what it tells of. */
  change: Change
  /** To be called when it is. */
  written(): void
}

export interface Plan<T> {
  changes: Change[]
  entries: Entry[]
  result: T
  /** `revoke` alone: nobody may do less by it, and it needs no number. */
  harmless?: boolean
  /** What a conflict means; undefined: somebody came between, plan again. */
  refuse?: (conflict: Conflict) => SshoalError | undefined
}

/** `number`: of the invalidation; undefined: nothing was taken from anybody. */
export interface Revoked<T> {
  result: T
  number: number | undefined
}

export interface LedgerDeps {
  store: Store
  /** To the listeners of every master. */
  announce(type: string, data: object, scope?: { project?: string }): void
  /** ms since 1970. */
  now(): number
  /** So many lines of the audit of a project were written. */
  wrote(project: string, lines: number): void
}

const ATTEMPTS = 20

export class Ledger {
  readonly #deps: LedgerDeps

  constructor(deps: LedgerDeps) {
    this.#deps = deps
  }

  get store(): Store {
    return this.#deps.store
  }

  now(): number {
    return this.#deps.now()
  }

  /** Plans and writes until nobody else came between. Rejects with what `plan` or `refuse` say, or with BUSY. */
  async change<T>(plan: () => Promise<Plan<T>>): Promise<T> {
    return (await this.#write(plan, false)).result
  }

  /**
   * The same where somebody may do less afterwards: the change and the number of its invalidation are one step, so that other
   * masters notice if this one dies before it has told anybody. The number must be told (revocation.ts), whomever it concerns.
   */
  revoke<T>(plan: () => Promise<Plan<T>>): Promise<Revoked<T>> {
    return this.#write(plan, true)
  }

  async #write<T>(plan: () => Promise<Plan<T>>, revokes: boolean): Promise<Revoked<T>> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { changes, entries, result, harmless = false, refuse } = await plan()
      if (changes.length === 0) return { result, number: undefined }
      const now = this.now()
      const outcome = await this.store.transact(
        [...changes, ...entries.map((entry) => putAudit(entry, now))],
        { numbered: revokes && !harmless },
      )
      if (outcome.done) {
        for (const entry of entries) {
          this.#deps.wrote(entry.project, 1)
          this.#tell(entry)
        }
        return { result, number: outcome.invalidation }
      }
      const error = refuse?.(outcome.conflict)
      if (error) throw error
    }
    throw new SshoalError('BUSY', 'this is being changed by many at once; try again')
  }

  line(entry: Entry): Line {
    return {
      change: putAudit(entry, this.now()),
      written: () => {
        this.#deps.wrote(entry.project, 1)
        this.#tell(entry)
      },
    }
  }

  /** Of something that was done elsewhere. */
  async note(entry: Entry): Promise<void> {
    const { change, written } = this.line(entry)
    await this.store.transact([change])
    written()
  }

  #tell({ project, type, by, before: _before, after: _after, ...about }: Entry): void {
    this.#deps.announce(type, { ...about, by: by.label }, { project })
  }
}
