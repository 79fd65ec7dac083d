// The tokens of the installation: mint, check, list, revoke. Secrets are never kept, only their hashes.
// Whoever opened something long-lived with a token listens here and closes it when the token is revoked.
import { atMost, DEFAULT_PROJECT, SshoalError } from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

import type { Line } from '../access/ledger.ts'
import type { RecordRef, Store } from '../store/store.ts'
import {
  ALL_PROJECTS,
  hashSecret,
  makeTokenText,
  readTokenText,
  sameText,
  type Principal,
  type Role,
  type Token,
  type TokenText,
} from './token.ts'

interface TokenRecord extends Token {
  hash: string
}

export interface NewToken {
  role: Role
  label: string
  /** Default `default`; `*` for admin and slave tokens only. */
  project?: string
  /** For role user: the id of the user whose it is. */
  user?: string
  /** ms since 1970; default: no end. */
  expiresAt?: number
}

export interface MintedToken extends Token {
  /** Shown this once. */
  secret: string
}

/** Nobody's: an unknown id is compared too, so that it takes as long as a wrong secret. */
const NO_HASH = hashSecret('')
const STARTED: RecordRef = { kind: 'mark', project: ALL_PROJECTS, id: 'token-files' }
const LIST_LIMIT = 10_000
/** How long a token that was right is believed while the store cannot be asked: it may have been revoked elsewhere. */
const BELIEVED_MS = 3_600_000

export class Tokens {
  readonly #store: Store
  readonly #now: () => number
  readonly #listeners = new Set<(tokenId: string, elsewhere: boolean) => void>()
  /** As the store had them last: while it is away the view is still shown, and slaves still come in. */
  readonly #believed = new LRUCache<string, { record: TokenRecord; store: string }>({
    ...atMost(10_000),
    ttl: BELIEVED_MS,
  })

  constructor(store: Store, now: () => number = Date.now) {
    this.#store = store
    this.#now = now
  }

  /** `note`: what the audit is to say, in one step with it. `secret` of the answer is the whole text that a client sends. Throws INVALID_TOKEN_REQUEST. */
  async mint(
    wanted: NewToken,
    text: TokenText = makeTokenText(),
    note?: (token: Token) => Line,
  ): Promise<MintedToken> {
    const project = wanted.project ?? DEFAULT_PROJECT
    if (project === ALL_PROJECTS && wanted.role !== 'admin' && wanted.role !== 'slave')
      throw new SshoalError('INVALID_TOKEN_REQUEST', `a token of role ${wanted.role} belongs to one project`)
    if (wanted.expiresAt !== undefined && wanted.expiresAt <= this.#now())
      throw new SshoalError('INVALID_TOKEN_REQUEST', 'expiresAt is in the past')
    const token: Token = {
      id: text.id,
      role: wanted.role,
      project,
      label: wanted.label,
      ...(wanted.user === undefined ? {} : { user: wanted.user }),
      createdAt: this.#now(),
      ...(wanted.expiresAt === undefined ? {} : { expiresAt: wanted.expiresAt }),
    }
    const value: TokenRecord = { ...token, hash: hashSecret(text.secret) }
    const line = note?.(token)
    const outcome = await this.#store.transact([
      { type: 'put', ref: refOf(text.id), value, expect: 'absent' },
      ...(line ? [line.change] : []),
    ])
    if (!outcome.done) throw new SshoalError('TOKEN_EXISTS', `there is a token ${text.id} already`)
    line?.written()
    this.#believed.set(text.id, { record: value, store: this.#store.id })
    return { ...token, secret: text.text }
  }

  /**
   * Undefined: malformed, unknown, revoked, wrong or expired; which of them is nobody's business. While the store cannot be
   * asked, what it said within the last hour counts; of others it throws what the store throws.
   */
  async check(text: string): Promise<Principal | undefined> {
    const given = readTokenText(text)
    if (!given) return undefined
    const record = await this.#read(given.id)
    const right = sameText(hashSecret(given.secret), record?.hash ?? NO_HASH)
    if (!record || !right) return undefined
    const { id, role, project, label, user, expiresAt } = record
    if (expiresAt !== undefined && expiresAt <= this.#now()) return undefined
    return {
      tokenId: id,
      role,
      project,
      label,
      ...(user === undefined ? {} : { user }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
    }
  }

  async #read(id: string): Promise<TokenRecord | undefined> {
    try {
      const record = (await this.#store.get<TokenRecord>(refOf(id)))?.value
      const store = this.#store.id
      if (record) this.#believed.set(id, { record, store })
      // Another store that does not know it has not revoked it.
      else if (this.#believed.peek(id)?.store === store) this.#believed.delete(id)
      return record
    } catch (error) {
      const believed = isAway(error) ? this.#believed.get(id)?.record : undefined
      if (believed) return believed
      throw error
    }
  }

  /** Was right within the last hour, be it in the store before, and not revoked since, as far as is known here. */
  believes(given: TokenText, role: Role): boolean {
    const believed = this.#believed.get(given.id)?.record
    return believed?.role === role && sameText(hashSecret(given.secret), believed.hash)
  }

  /** Takes its word while the store cannot be asked: for the files of a master that starts then. */
  believe({ id, secret }: TokenText, role: Role): void {
    const createdAt = this.#now()
    const record = { id, role, project: ALL_PROJECTS, label: role, createdAt, hash: hashSecret(secret) }
    this.#believed.set(id, { record, store: '' })
  }

  /** Oldest first; those that have ended too, until they are revoked. Undefined: all projects. */
  async list(project?: string): Promise<Token[]> {
    const page = await this.#store.scan<TokenRecord>({
      kind: 'token',
      project: ALL_PROJECTS,
      limit: LIST_LIMIT,
    })
    return page.records
      .map(({ value }) => withoutHash(value))
      .filter((token) => project === undefined || token.project === project)
      .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
  }

  /** `note`: what the audit is to say, in one step with it. Closes what the token opened. False: there is none of that id in the project (undefined: in any). */
  async revoke(id: string, project?: string, note?: (token: Token) => Line): Promise<boolean> {
    const found = await this.#store.get<TokenRecord>(refOf(id))
    if (!found || (project !== undefined && found.value.project !== project)) return false
    const line = note?.(withoutHash(found.value))
    const outcome = await this.#store.transact([
      { type: 'remove', ref: refOf(id), expect: 'present' },
      ...(line ? [line.change] : []),
    ])
    if (!outcome.done) return false
    // First what it opened ends: who followed events with it hears nothing any more, not even this.
    this.#tell(id, false)
    line?.written()
    return true
  }

  /** All of a user who is gone. */
  async revokeOf(project: string, user: string): Promise<void> {
    for (const token of await this.list(project))
      if (token.user === user) await this.revoke(token.id, project)
  }

  /** Whether a master has started on this store before. */
  async hasStarted(): Promise<boolean> {
    return (await this.#store.get(STARTED)) !== undefined
  }

  async noteStarted(): Promise<void> {
    await this.#store.transact([{ type: 'put', ref: STARTED, value: true }])
  }

  /** Another master revoked it. */
  revokedElsewhere(id: string): void {
    this.#tell(id, true)
  }

  #tell(id: string, elsewhere: boolean): void {
    this.#believed.delete(id)
    for (const listener of this.#listeners) listener(id, elsewhere)
  }

  /** Calls back with the id of every token that is revoked, after it is, and whether another master did it. Returns what ends that. */
  onRevoked(listener: (tokenId: string, elsewhere: boolean) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

function withoutHash(record: TokenRecord): Token {
  const { hash: _hash, ...token } = record
  return token
}

/** Too new: a master of a later version has been here, and this one is about to be replaced. */
const AWAY = new Set(['STORE_UNAVAILABLE', 'STORE_CHANGED', 'STORE_TOO_NEW'])

function isAway(error: unknown): boolean {
  return error instanceof SshoalError && AWAY.has(error.code)
}

function refOf(id: string): RecordRef {
  return { kind: 'token', project: ALL_PROJECTS, id }
}
