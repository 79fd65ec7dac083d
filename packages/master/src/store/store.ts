// Where durable facts live: JSON records by (kind, project, id), written in atomic transactions with conditions.
// Says nothing of devices or tokens, and nothing of the engine underneath: one is embedded, one is Redis.
import { SshoalError, type HostPort } from '@sshoal/shared'

import type { Schema } from './schema.ts'

export interface RecordRef {
  kind: string
  /** The project, or `*` for records that belong to no single one. */
  project: string
  id: string
}

export interface StoredRecord<T = unknown> extends RecordRef {
  value: T
  /** Never the same twice for one record, not even after it was removed and made again. */
  version: number
}

/** A value that only one record of its kind may hold, in its project or everywhere; it leads back to the record. */
export interface Claim {
  index: string
  value: string
  everywhere?: boolean
}

/** `absent`, `present`, or the version that was read (compare and set). */
export type Expectation = 'absent' | 'present' | number

export type Change =
  | { type: 'put'; ref: RecordRef; value: unknown; claims?: Claim[]; expect?: Expectation }
  | { type: 'remove'; ref: RecordRef; expect?: Expectation }

export type Conflict =
  | { reason: 'exists' | 'missing' | 'changed'; ref: RecordRef }
  | { reason: 'taken'; ref: RecordRef; claim: Claim; by: RecordRef }

/** `invalidation`: its number, where one was asked for. */
export type Outcome = { done: true; invalidation?: number } | { done: false; conflict: Conflict }

export interface Scan {
  kind: string
  /** Undefined: all projects, in the order of their names. */
  project?: string
  /** Only ids that begin so; needs `project`. */
  prefix?: string
  /** What `next` of the page before said. */
  after?: string
  limit: number
}

export interface Page<T> {
  records: StoredRecord<T>[]
  /** Null on the last page. */
  next: string | null
}

/** A record with what it holds, as exports carry it. */
export interface ClaimedRecord extends StoredRecord {
  claims: Claim[]
}

/** Which store, and how far it has come: two that are equal hold the same. */
export interface StorePlace {
  schema: number
  id: string
  /** The greatest that was ever given. */
  version: number
  invalidation: number
}

/** All of a store at one moment. */
export interface Snapshot extends StorePlace {
  /** By kind, project and id. To be read, or to be ended with `return()`: the store keeps the moment until then. */
  records: AsyncGenerator<ClaimedRecord, void>
}

export interface RestoreOptions {
  replace?: boolean
  over?: StorePlace
}

/**
 * `away`: it does not answer, calls reject with STORE_UNAVAILABLE until it does. `changed`: what answers is not the store
 * that it was, and it was not said that it should follow it; calls reject with STORE_CHANGED.
 */
export type StoreState = 'ok' | 'away' | 'changed'

/**
 * Every method rejects with STORE_CLOSED after `close`, with STORE_FAILED where the engine fails, and, where it is
 * elsewhere, with STORE_UNAVAILABLE within 2 s and STORE_CHANGED. What was rejected did not happen and will not,
 * but for a write whose answer was lost.
 */
export interface Store {
  /** Random, made when the store was: another id is another store. Changes only by `accept` and `restore`, here or elsewhere. */
  readonly id: string
  readonly state: StoreState
  /** What it writes and reads. An older store is migrated when it is opened or comes back, after a copy was saved. */
  readonly schema: Schema
  /** Where it listens itself, as far as it knows at the moment; the embedded one nowhere. */
  readonly places: readonly HostPort[]
  /** Calls back when the state or the id has changed. Returns what ends that. */
  onState(listener: (state: StoreState, id: string) => void): () => void
  /** Takes what answers now as the store, for every master that knew the one before; resolves with its id. */
  accept(): Promise<string>
  get<T>(ref: RecordRef): Promise<StoredRecord<T> | undefined>
  /** The records that hold the claim, at most one per project. */
  find<T>(kind: string, claim: Pick<Claim, 'index' | 'value'>): Promise<StoredRecord<T>[]>
  /** Every claim of an index and who holds it, ordered by value. */
  claims(kind: string, index: string): Promise<{ value: string; ref: RecordRef }[]>
  /** Ordered by project, then id, each in byte order. Throws INVALID_CURSOR. */
  scan<T>(scan: Scan): Promise<Page<T>>
  /**
   * All or nothing; changes apply in their order, so a claim may move. Resolves when the result survives a power cut.
   * `numbered`: an invalidation is numbered with them, so that no crash comes between what is removed and its number.
   */
  transact(changes: Change[], options?: { numbered?: boolean }): Promise<Outcome>
  /** Rises by one with every call, over restarts too. */
  nextInvalidation(): Promise<number>
  /** The number that `nextInvalidation` gave last; 0: none yet. */
  lastInvalidation(): Promise<number>
  /** One consistent view, while others write. */
  snapshot(): Promise<Snapshot>
  /**
   * Becomes what the snapshot was, its id included, at once or not at all, in any state. Versions and invalidations go on
   * behind those of both. Throws STORE_NOT_EMPTY where there are records, unless they may be replaced; STORE_MOVED where
   * the store is not the one, or not where, `over` says. The records are of today's schema.
   */
  restore(snapshot: Snapshot, options?: RestoreOptions): Promise<void>
  close(): Promise<void>
}

export function notEmpty(): SshoalError {
  return new SshoalError(
    'STORE_NOT_EMPTY',
    'there are records in the store already; say so if they may be replaced',
  )
}

export function storeClosed(): SshoalError {
  return new SshoalError('STORE_CLOSED', 'the store is closed')
}

/** A cursor is the place of the last record of a page; clients treat it as opaque. */
export function formatCursor(place: { project: string; id: string }): string {
  return Buffer.from(JSON.stringify([place.project, place.id])).toString('base64url')
}

/** Throws INVALID_CURSOR. */
export function parseCursor(cursor: string): { project: string; id: string } {
  try {
    const place: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    if (Array.isArray(place) && place.length === 2) {
      const [project, id] = place as unknown[]
      if (typeof project === 'string' && typeof id === 'string') return { project, id }
    }
  } catch {
    // falls through: not JSON is as wrong as the wrong JSON
  }
  throw new SshoalError('INVALID_CURSOR', 'the cursor is not one that a page before gave as `next`')
}
