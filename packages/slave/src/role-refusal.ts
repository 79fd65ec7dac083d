// Why a key is not let in, or a connection cannot go on, by the roles that its key has. Pure.
import type { DeviceRole, Identity } from '@sshoal/shared'

import type { Recognition } from './identities.ts'
import type { Refusal } from './refusal.ts'

/** What the owner of a key reads that is not let in. */
export function loginRefusal(answer: Recognition, fingerprint: string): Refusal {
  if (answer.outcome === 'outage')
    return { code: 'TRY_LATER', reason: 'your key cannot be checked right now; try again later' }
  if (answer.outcome === 'refused' && answer.code !== 'KEY_UNKNOWN')
    return { code: answer.code, reason: answer.reason }
  return { code: 'KEY_UNKNOWN', reason: `the key ${fingerprint} is not known here` }
}

/** Why a connection cannot go on when its key's roles are others now; undefined: it can. */
export function changeRefusal(before: Identity, now: Identity): Refusal | undefined {
  if (!now.device && !now.user) return { code: 'KEY_REMOVED', reason: 'this key is no longer accepted' }
  const { device } = before
  if (device && !(now.device && sameDevice(device, now.device)))
    return now.device
      ? { code: 'KEY_MOVED', reason: 'this key now belongs to another device; connect again' }
      : { code: 'KEY_REMOVED', reason: 'this key is no longer accepted' }
  // A device stays a device whatever becomes of its user; the visits themselves are asked about by the gate.
  if (device || !before.user || !now.user) return undefined
  return before.user.user === now.user.user && before.user.project === now.user.project
    ? undefined
    : { code: 'KEY_MOVED', reason: 'this key now belongs to another user; connect again' }
}

/** Why a key that is a device's opens no visits; `unknown`: whose else it is could not be said at its login. */
export function notAUser(unknown: boolean): Refusal {
  return unknown
    ? { code: 'TRY_LATER', reason: 'it could not be checked who you are; connect again later' }
    : { code: 'NOT_A_USER', reason: 'this key may hold a tunnel, not open connections through this slave' }
}

function sameDevice(a: DeviceRole, b: DeviceRole): boolean {
  return a.device === b.device && a.project === b.project && a.lease === b.lease
}
