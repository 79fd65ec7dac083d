// Reads what a hook answered into the words of the wire. Pure: an answer is known, refused, or malformed.
import { DEFAULT_PROJECT, Details, errorText, parseDuration, type DeviceRole } from '@sshoal/shared'
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'

import { HookRefusal } from './hook-refusal.ts'
import type { HookAnswer, HookResult } from './hook.ts'

const MAX_DETAILS_BYTES = 4_096

const Answer = Compile(
  Type.Object({
    // oxlint-disable-next-line no-control-regex -- NUL separates names inside, and none of these belongs into a log
    client_key: Type.String({ minLength: 1, maxLength: 128, pattern: '^[^\\u0000-\\u001f\\u007f]+$' }),
    project: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{1,63}$' })),
    ports: Type.Optional(Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }), { maxItems: 64 })),
    maxForwards: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_024 })),
    region: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    keepalive: Type.Optional(Type.Union([Type.String(), Type.Integer({ minimum: 0 })])),
    expiresAt: Type.Optional(Type.Union([Type.String(), Type.Integer({ minimum: 0 })])),
    cacheSeconds: Type.Optional(Type.Number({ minimum: 0, maximum: 31_536_000 })),
  }),
)

export type ReadAnswer =
  | {
      outcome: 'known'
      role: DeviceRole
      region: string | undefined
      /** Undefined: the hook did not say. */
      cacheMs: number | undefined
    }
  | { outcome: 'refused'; code: string; reason: string }
  | { outcome: 'malformed'; reason: string }

/** `now` in ms since 1970. Never throws, whatever the hook answered. */
export function readHookAnswer(result: HookResult, now: number): ReadAnswer {
  if (result instanceof HookRefusal) return { outcome: 'refused', code: result.code, reason: result.reason }
  if (result === undefined || result === null) return unknownKey()
  if (typeof result !== 'object' || Array.isArray(result))
    return malformed(`the hook answered ${Array.isArray(result) ? 'a list' : typeof result}, not an object`)
  try {
    return readObject(result, now)
  } catch (error) {
    return malformed(errorText(error))
  }
}

function readObject(result: HookAnswer, now: number): ReadAnswer {
  if (result.client_key === undefined || result.client_key === null || result.client_key === '')
    return unknownKey()
  // JSON decides what an answer is: a Date becomes its text, a function or `undefined` is not there.
  const plain = JSON.parse(JSON.stringify(result)) as unknown
  if (!Answer.Check(plain)) {
    const [problem] = Answer.Errors(plain)
    return malformed(`${problem?.instancePath || '/'} ${problem?.message ?? 'is wrong'}`)
  }
  const { client_key, project, ports, maxForwards, region, keepalive, expiresAt, cacheSeconds, ...rest } =
    plain
  const endsAt = expiresAt === undefined ? undefined : new Date(expiresAt).getTime()
  if (Number.isNaN(endsAt)) return malformed('/expiresAt is not a time')
  if (endsAt !== undefined && endsAt <= now)
    return { outcome: 'refused', code: 'KEY_EXPIRED', reason: 'this key has expired' }
  const details = rest as Details
  const bytes = Buffer.byteLength(JSON.stringify(details))
  if (bytes > MAX_DETAILS_BYTES)
    return malformed(`the fields beside the known ones take ${bytes} bytes, ${MAX_DETAILS_BYTES} are allowed`)
  const role: DeviceRole = { project: project ?? DEFAULT_PROJECT, device: client_key }
  if (ports !== undefined) role.ports = ports
  if (maxForwards !== undefined) role.maxForwards = maxForwards
  if (keepalive !== undefined)
    role.keepaliveMs = typeof keepalive === 'number' ? keepalive : parseDuration(keepalive)
  if (endsAt !== undefined) role.expiresAt = endsAt
  if (Object.keys(details).length > 0) role.details = details
  return {
    outcome: 'known',
    role,
    region,
    cacheMs: cacheSeconds === undefined ? undefined : Math.round(cacheSeconds * 1_000),
  }
}

function unknownKey(): ReadAnswer {
  return { outcome: 'refused', code: 'KEY_UNKNOWN', reason: 'this key is not known here' }
}

function malformed(reason: string): ReadAnswer {
  return { outcome: 'malformed', reason }
}
