// Who may reach what: a user × (a pool or a target), by which ports or forwards, as which account, until when. Pure.
import { randomUUID } from 'node:crypto'

import { SshoalError } from '@sshoal/shared'

import type { Change, RecordRef } from '../store/store.ts'
import { parseTime } from '../time-text.ts'

export interface Grant {
  /** A UUID; never another's. */
  id: string
  project: string
  /** The user's id. */
  user: string
  on: GrantedTo
  /** The account on the target; a configuration says it, the gate cannot see it. */
  account?: string
  /** Ports, names of forwards, or `*`. */
  forwards: string[]
  /** ms since 1970. */
  until?: number
  createdAt: number
}

export interface GrantedTo {
  kind: 'pool' | 'target'
  /** Its id: what gets its name later gets nothing else. */
  id: string
  name: string
}

export interface GrantSettings {
  account?: string | null
  forwards?: string[]
  /** RFC 3339. */
  until?: string | null
}

export const GRANT = 'grant'
/** The same grants under what they are on, to find them from there. */
export const GRANT_ON = 'grant-on'
const SSH_PORT = '22'
const MAX_FORWARDS = 64

/** Throws INVALID_ACCOUNT, INVALID_FORWARDS, INVALID_UNTIL. */
export function makeGrant(
  project: string,
  user: string,
  on: GrantedTo,
  settings: GrantSettings,
  now: number,
): Grant {
  const bare = { id: randomUUID(), project, user, on, forwards: [SSH_PORT], createdAt: now }
  return changeGrant(bare, settings, now)
}

/** Throws as `makeGrant`. */
export function changeGrant(grant: Grant, settings: GrantSettings, now: number): Grant {
  const { account: accountBefore, until: untilBefore, ...rest } = grant
  const account = after(accountBefore, settings.account, readAccount)
  const until = after(untilBefore, settings.until, (text) => readUntil(text, now))
  return {
    ...rest,
    forwards: settings.forwards === undefined ? grant.forwards : readForwards(settings.forwards),
    ...(account === undefined ? {} : { account }),
    ...(until === undefined ? {} : { until }),
  }
}

function after<T, W>(
  before: T | undefined,
  wanted: W | null | undefined,
  read: (wanted: W) => T,
): T | undefined {
  if (wanted === undefined) return before
  return wanted === null ? undefined : read(wanted)
}

/** Does it stand at `now`? */
export function isLive({ until }: Grant, now: number): boolean {
  return until === undefined || until > now
}

/** Port P of the target itself, or a forward by its name. A name is no port: `22` does not open a forward called web. */
export function covers({ forwards }: Grant, asked: { port: number; forward?: string | undefined }): boolean {
  if (forwards.includes('*')) return true
  if (asked.forward === undefined) return forwards.includes(String(asked.port))
  return isForwardName(asked.forward) && forwards.includes(asked.forward)
}

/**
 * The one that counts of those that allow a thing: the one that lasts longest, so that no visit ends before it must; then
 * one for the target itself, one with an account, the oldest.
 */
export function bestGrant(grants: readonly Grant[]): Grant | undefined {
  return [...grants].sort(
    (a, b) =>
      compare(b.until ?? Infinity, a.until ?? Infinity) ||
      Number(a.on.kind === 'pool') - Number(b.on.kind === 'pool') ||
      Number(a.account === undefined) - Number(b.account === undefined) ||
      compare(a.createdAt, b.createdAt) ||
      (a.id < b.id ? -1 : 1),
  )[0]
}

function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1
}

/** Throws INVALID_ACCOUNT. */
export function readAccount(account: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}$/.test(account))
    throw new SshoalError(
      'INVALID_ACCOUNT',
      `${JSON.stringify(account.slice(0, 80))} is not an account: write 1 to 64 of A-Z, a-z, 0-9 and ._@+-`,
    )
  return account
}

/** Throws INVALID_FORWARDS. */
function readForwards(forwards: string[]): string[] {
  const unique = [...new Set(forwards.map((text) => text.toLowerCase()))]
  if (unique.length === 0 || unique.length > MAX_FORWARDS)
    throw new SshoalError('INVALID_FORWARDS', `a grant names 1 to ${MAX_FORWARDS} forwards`)
  for (const text of unique)
    if (text !== '*' && !isPort(text) && !isForwardName(text))
      throw new SshoalError(
        'INVALID_FORWARDS',
        `${JSON.stringify(text.slice(0, 80))} is neither a port, nor the name of a forward, nor *`,
      )
  return unique
}

function isPort(text: string): boolean {
  return /^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535
}

function isForwardName(text: string): boolean {
  return /^[a-z0-9-]{1,63}$/.test(text) && !/^\d+$/.test(text)
}

/** Throws INVALID_UNTIL. */
function readUntil(text: string, now: number): number {
  const ms = parseTime(text)
  if (ms === undefined)
    throw new SshoalError(
      'INVALID_UNTIL',
      `${JSON.stringify(text.slice(0, 60))} is not a time: write 2030-01-31T12:00:00Z`,
    )
  if (ms <= now) throw new SshoalError('INVALID_UNTIL', 'until is in the past')
  return ms
}

/** Under the user's id, so that one look finds all of theirs. */
export function grantRef({ project, user, id }: Grant): RecordRef {
  return { kind: GRANT, project, id: `${user}.${id}` }
}

export function grantOnRef({ project, on, id }: Grant): RecordRef {
  return { kind: GRANT_ON, project, id: `${on.id}.${id}` }
}

export function putGrant(grant: Grant, expect: 'absent' | number): Change[] {
  const { user, on, account, id } = grant
  const claims = [
    { index: 'id', value: id },
    // The same twice says nothing more.
    { index: 'same', value: `${user} ${on.id} ${account ?? ''}` },
  ]
  return [
    { type: 'put', ref: grantRef(grant), value: grant, claims, expect },
    ...(expect === 'absent'
      ? [{ type: 'put' as const, ref: grantOnRef(grant), value: { user, grant: id } }]
      : []),
  ]
}

export function removeGrant(grant: Grant, expect?: number): Change[] {
  return [
    { type: 'remove', ref: grantRef(grant), ...(expect === undefined ? {} : { expect }) },
    { type: 'remove', ref: grantOnRef(grant) },
  ]
}
