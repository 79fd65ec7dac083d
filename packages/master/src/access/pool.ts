// A set of targets that are granted together, as it is stored: members by hand are records of their own, so that a pool of
// thousands is never written as one. No storing, no REST.
import { randomUUID } from 'node:crypto'

import type { Change, RecordRef } from '../store/store.ts'
import { readName, readTitle } from './name.ts'
import { readSelector, type Selector } from './selector.ts'

export interface Pool {
  /** A UUID; never another's. Grants and targets hold it. */
  id: string
  project: string
  /** The id of the record. */
  name: string
  title?: string
  selector?: Selector
  /** ms since 1970. */
  createdAt: number
}

export interface PoolSettings {
  title?: string | null
  selector?: Selector | null
}

export const POOL = 'pool'
export const MEMBER = 'member'

/** Throws INVALID_NAME, INVALID_SELECTOR, INVALID_REGION. */
export function makePool(project: string, wanted: PoolSettings & { name: string }, now: number): Pool {
  const pool = { id: randomUUID(), project, name: readName(wanted.name, 'pool'), createdAt: now }
  return changePool(pool, wanted)
}

/** Throws as `makePool`. */
export function changePool(pool: Pool, settings: PoolSettings): Pool {
  const { title: titleBefore, selector: selectorBefore, ...rest } = pool
  const title = after(titleBefore, settings.title, (text) => readTitle(text, 'a title'))
  const selector = after(selectorBefore, settings.selector, readSelector)
  return {
    ...rest,
    ...(title === undefined ? {} : { title }),
    ...(selector === undefined ? {} : { selector }),
  }
}

function after<T>(
  before: T | undefined,
  wanted: T | null | undefined,
  read: (wanted: T) => T,
): T | undefined {
  if (wanted === undefined) return before
  return wanted === null ? undefined : read(wanted)
}

export function poolRef(project: string, name: string): RecordRef {
  return { kind: POOL, project, id: name }
}

export function putPool(pool: Pool, expect: 'absent' | number): Change {
  const claims = [{ index: 'id', value: pool.id }]
  return { type: 'put', ref: poolRef(pool.project, pool.name), value: pool, claims, expect }
}

/** Under the pool's id, so that one look finds all, in the order of their names. */
export function memberRef(pool: Pool, target: string): RecordRef {
  return { kind: MEMBER, project: pool.project, id: `${pool.id}.${target}` }
}
