// Every code with which either side closes the cluster link (RFC 6455 §7.4.2: 4000–4999 are ours), and what to do then.

export const CLOSE = {
  /** The process stops; come back later or go to another master. */
  GOING_AWAY: 1001,
  /** A frame was not JSON, not of its schema, or arrived in the wrong order. */
  BAD_FRAME: 4400,
  /** The token or the host key's signature was not accepted. */
  UNAUTHORIZED: 4401,
  /** The protocol versions do not overlap; the reason says which side to update. */
  VERSION: 4406,
  /** No hello, snapshot or answer within its deadline. */
  DEADLINE: 4408,
  /** Another live process holds this slave id. */
  ID_TAKEN: 4409,
  /** A newer link of the same slave took over. */
  REPLACED: 4410,
  /** Nothing was heard for six seconds. */
  SILENT: 4411,
} as const

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE]
