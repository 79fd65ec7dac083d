// How an error leaves over HTTP: one shape, one table from code to status. What went wrong inside stays in the log.
import { SshoalError } from '@sshoal/shared'
import { Type, type Static } from 'typebox'

export const ErrorBody = Type.Object(
  {
    error: Type.String({ description: 'For people: what is wrong, and what to change.' }),
    code: Type.String({ description: 'For programs: stable.' }),
    details: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  },
  { $id: 'Error' },
)
export type ErrorBody = Static<typeof ErrorBody>

const STATUS: Record<string, number> = {
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  KEY_NEEDS_TLS: 403,
  NOT_FOUND: 404,
  NOT_ATTACHED: 404,
  UNKNOWN_DEVICE: 404,
  UNKNOWN_GATE: 404,
  UNKNOWN_GRANT: 404,
  UNKNOWN_KEY: 404,
  UNKNOWN_LEASE: 404,
  UNKNOWN_MEMBER: 404,
  UNKNOWN_POOL: 404,
  UNKNOWN_PROJECT: 404,
  UNKNOWN_REFUSED: 404,
  UNKNOWN_SLAVE: 404,
  UNKNOWN_TARGET: 404,
  UNKNOWN_TOKEN: 404,
  UNKNOWN_USER: 404,
  METHOD_NOT_ALLOWED: 405,
  DEVICE_EXISTS: 409,
  DEVICE_TARGET: 409,
  EMAIL_TAKEN: 409,
  GATE_TAKEN: 409,
  GRANT_EXISTS: 409,
  HOOK_DEVICE: 409,
  IN_USE: 409,
  KEY_TAKEN: 409,
  LOGIN_TAKEN: 409,
  MAC_TAKEN: 409,
  NOT_CONNECTED: 409,
  POOL_TAKEN: 409,
  PORT_TAKEN: 409,
  PROJECT_TAKEN: 409,
  STORE_NOT_EMPTY: 409,
  STORE_TOO_NEW: 409,
  TARGET_TAKEN: 409,
  TOKEN_EXISTS: 409,
  TOO_MANY_KEYS: 409,
  TOO_MANY_TARGETS: 409,
  BODY_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  RATE_LIMITED: 429,
  BUSY: 503,
  NO_PORT: 503,
  NO_SLAVE: 503,
  NOT_READY: 503,
  STORE_CHANGED: 503,
  STORE_CLOSED: 503,
  STORE_FAILED: 503,
  STORE_REFUSED: 503,
  STORE_UNAVAILABLE: 503,
}

/** These say more inside than a client may hear. */
const OUTWARD: Record<string, string> = {
  STORE_CLOSED: 'this master is stopping; try again',
  STORE_CHANGED: 'the store is not the one that was known; its operator must import a backup or accept it',
  STORE_FAILED: 'the store does not answer; nothing was changed as far as is known, try again',
  STORE_REFUSED: 'the store does not let this master in; nothing was changed',
  STORE_UNAVAILABLE: 'the store does not answer; nothing was changed as far as is known, try again',
}

/** Fastify's own refusals, by our codes; and in our words where its own do not say what to change. */
const FRAMEWORK: Record<string, { code: string; error?: string }> = {
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'BODY_TOO_LARGE' },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: 'UNSUPPORTED_MEDIA_TYPE',
    error: 'send the body as JSON, with the header Content-Type: application/json',
  },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: 'INVALID_JSON', error: 'the body is not JSON' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: { code: 'INVALID_BODY' },
  FST_ERR_BAD_URL: { code: 'INVALID_URL' },
}

export interface Answer {
  status: number
  body: ErrorBody
  /** True: nobody expected it; the log should have it. */
  unexpected: boolean
}

export function answerError(error: unknown): Answer {
  if (error instanceof SshoalError) {
    const status = STATUS[error.code] ?? (error.code.startsWith('INVALID_') ? 400 : 500)
    if (status !== 500)
      return {
        status,
        body: {
          error: OUTWARD[error.code] ?? error.message,
          code: error.code,
          ...(error.details && !(error.code in OUTWARD) ? { details: error.details } : {}),
        },
        unexpected: error.code === 'STORE_FAILED',
      }
  } else if (error instanceof Error) {
    const { statusCode, code } = error as { statusCode?: number; code?: string }
    if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
      return {
        status: statusCode,
        body: { error: error.message, ...inOurWords(error, code) },
        unexpected: false,
      }
  }
  const body = { error: 'something went wrong here; the log of the master says what', code: 'INTERNAL' }
  return { status: 500, body, unexpected: true }
}

function inOurWords(error: Error, code = ''): { code: string; error?: string } {
  const known = FRAMEWORK[error instanceof SyntaxError ? 'FST_ERR_CTP_INVALID_JSON_BODY' : code]
  return known ?? { code: 'INVALID_REQUEST' }
}
