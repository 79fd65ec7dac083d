// A person and their keys as they are stored, and what a request must look like to become one. No storing, no REST.
import { SshoalError } from '@sshoal/shared'

import { checkKeyCount, makeKey, type DeviceKey, type NewKey } from '../registry/device.ts'
import type { Change, RecordRef } from '../store/store.ts'
import { isUuid, readTitle } from './name.ts'

export interface User {
  /** A UUID; never another's, not even after the user is gone. */
  id: string
  project: string
  email: string
  login: string
  name?: string
  keys: UserKey[]
  /** ms since 1970. */
  createdAt: number
}

export type UserKey = DeviceKey

export interface UserSettings {
  email?: string
  login?: string
  name?: string | null
}

export const USER = 'user'

/** Throws INVALID_EMAIL, INVALID_LOGIN, INVALID_NAME. */
export function changeUser(user: User, { email, login, name }: UserSettings): User {
  const { name: before, ...rest } = user
  const after = name === undefined ? before : name === null ? undefined : readTitle(name, 'a name')
  return {
    ...rest,
    email: email === undefined ? user.email : readEmail(email),
    login: login === undefined ? user.login : readLogin(login),
    ...(after === undefined ? {} : { name: after }),
  }
}

/** Throws INVALID_EMAIL. */
export function readEmail(text: string): string {
  const email = text.trim()
  // One @, a domain, and nothing that means something to a shell, a mail header or a terminal.
  if (email.length > 254 || !/^[A-Za-z0-9._%+='~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$/.test(email))
    throw new SshoalError('INVALID_EMAIL', `${JSON.stringify(text.slice(0, 80))} is not an e-mail address`)
  return email
}

/** In lower case. Throws INVALID_LOGIN. */
export function readLogin(text: string): string {
  const login = text.toLowerCase()
  if (!/^[a-z0-9_][a-z0-9._-]{0,62}$/.test(login) || isUuid(login))
    throw new SshoalError(
      'INVALID_LOGIN',
      `${JSON.stringify(text.slice(0, 80))} is not a login: write 1 to 63 of a-z, 0-9, dot, dash and underscore, a letter or digit first`,
    )
  return login
}

/** What stands before the @, as far as it can be a login. */
export function loginOf(email: string): string {
  const text = (email.split('@', 1)[0] ?? '').toLowerCase().replace(/[^a-z0-9._-]+/g, '-')
  return readLogin(text.replace(/^[.-]+/, '').slice(0, 63) || 'user')
}

/** Throws INVALID_KEY, INVALID_NAME. */
export function makeUserKey(wanted: NewKey, now: number): UserKey {
  const { label, ...key } = makeKey(wanted, now)
  if (wanted.label !== undefined) return { ...key, label: readTitle(wanted.label, 'a label') }
  // A comment is nobody's decision: what must not be in a label is left out.
  // oxlint-disable-next-line no-control-regex -- see above
  const clean = label?.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '')
  return clean === undefined || clean === '' ? key : { ...key, label: clean }
}

/** Throws TOO_MANY_KEYS. */
export function checkUserKeys(user: User): User {
  checkKeyCount(user, 'a user')
  return user
}

export function userRef(project: string, id: string): RecordRef {
  return { kind: USER, project, id }
}

export function putUser(user: User, expect: 'absent' | number): Change {
  return {
    type: 'put',
    ref: userRef(user.project, user.id),
    value: user,
    claims: [
      { index: 'email', value: user.email.toLowerCase() },
      { index: 'login', value: user.login },
      ...user.keys.map(({ fingerprint }) => ({ index: 'fingerprint', value: fingerprint })),
    ],
    expect,
  }
}
