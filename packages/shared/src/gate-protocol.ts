// The gate's part of the cluster link: who may visit what, which slave carries the visit, and what became of it.
// A visit is asked of the master by the slave where the user logged in, and asked again by the slave that carries it.
import { Type, type Static } from 'typebox'

const Count = Type.Integer({ minimum: 0 })
const Port = Type.Integer({ minimum: 1, maximum: 65_535 })
const Name = Type.String({ minLength: 1, maxLength: 255 })
const Address = Type.String({ maxLength: 100 })
const Text = Type.String({ maxLength: 4_096 })

/** Lets `direct-tcpip` through: the key is this user's. */
export const UserRole = Type.Object({
  project: Name,
  /** The user's id: never another's, not even after the user is gone. */
  user: Name,
  login: Name,
  /** What the user calls this key. */
  keyLabel: Type.Optional(Name),
})
export type UserRole = Static<typeof UserRole>

/** May this user, with this key, open a connection to this port of this target? */
export const VisitQuestion = Type.Object({
  project: Name,
  user: Name,
  fingerprint: Address,
  /** As the client wrote it: `TARGET` or `NAME.TARGET`, in any case. */
  target: Name,
  port: Port,
  /** Where the user comes from. */
  remoteAddress: Address,
  /** The slave where the user logged in, where another asks: that of the carrier. Gates are judged by its region. */
  via: Type.Optional(Name),
})
export type VisitQuestion = Static<typeof VisitQuestion>

/** The slave that carries a visit, and where the others reach its relay. */
export const Carrier = Type.Object({
  slave: Name,
  relay: Type.Optional(
    Type.Object({
      host: Name,
      port: Port,
      /** Host keys in SSH wire form, base64; only these are believed. */
      hostKeys: Type.Array(Type.String({ maxLength: 16_384 }), { minItems: 1, maxItems: 8 }),
    }),
  ),
})
export type Carrier = Static<typeof Carrier>

export const VisitGrant = Type.Object({
  outcome: Type.Literal('granted'),
  /** The target's own name, and the name of one of its forwards where the question had one. */
  target: Name,
  forward: Type.Optional(Name),
  grant: Name,
  account: Type.Optional(Name),
  /** How long the grant still lasts, ms. Clocks differ; spans do not. Missing: without end. */
  remainingMs: Type.Optional(Count),
  to: Type.Union([
    Type.Object({ kind: Type.Literal('device'), project: Name, device: Name }),
    Type.Object({ kind: Type.Literal('host'), address: Name, port: Port }),
  ]),
  carrier: Carrier,
})
export type VisitGrant = Static<typeof VisitGrant>

/**
 * `refused`: UNKNOWN_TARGET (also: not granted; the same text for both), TARGET_OFFLINE, NO_CARRIER, KEY_REMOVED.
 * TARGET_OFFLINE and NO_CARRIER say nothing about the right to be there: a visit that stands is not cut for them.
 */
export const VisitAnswer = Type.Union([
  VisitGrant,
  Type.Object({ outcome: Type.Literal('refused'), code: Name, reason: Text }),
])
export type VisitAnswer = Static<typeof VisitAnswer>

/** What may this user reach? For the text of `ssh GATE`. */
export const ReachQuestion = Type.Object({ project: Name, user: Name, limit: Count })
export type ReachQuestion = Static<typeof ReachQuestion>

export const ReachAnswer = Type.Object({
  /** Ordered: online first, then by name. */
  targets: Type.Array(
    Type.Object({
      name: Name,
      account: Type.Optional(Name),
      online: Type.Boolean(),
      /** ms since 1970 when it was last seen; missing: never, or a host. */
      seenAt: Type.Optional(Count),
    }),
    { maxItems: 1_000 },
  ),
  total: Count,
  /** There may be more: it would have taken too long to look at everything. */
  incomplete: Type.Optional(Type.Boolean()),
})
export type ReachAnswer = Static<typeof ReachAnswer>

/** Which of these addresses are, with this port, the cluster's own? Asked before a host is dialled. */
export const OwnQuestion = Type.Object({ addresses: Type.Array(Address, { maxItems: 16 }), port: Port })
export type OwnQuestion = Static<typeof OwnQuestion>

export const OwnAnswer = Type.Object({ own: Type.Array(Address, { maxItems: 16 }) })
export type OwnAnswer = Static<typeof OwnAnswer>

/** Whose host key is this, that asks to relay? Only keys of slaves that are linked are known. */
export const PeerQuestion = Type.Object({ publicKey: Type.String({ maxLength: 16_384 }) })
export type PeerQuestion = Static<typeof PeerQuestion>

export const PeerAnswer = Type.Object({ known: Type.Boolean() })
export type PeerAnswer = Static<typeof PeerAnswer>

/** A visit through the gate, told by the slave that carries it: at its begin, and again with `ended`; until it is confirmed. */
export const VisitReport = Type.Object({
  /** Random, of the slave where the user logged in. */
  id: Name,
  project: Name,
  user: Name,
  login: Name,
  fingerprint: Address,
  remoteAddress: Address,
  target: Name,
  forward: Type.Optional(Name),
  port: Port,
  grant: Name,
  account: Type.Optional(Name),
  /** The slave where the user logged in, where that is another. */
  via: Type.Optional(Name),
  /** ms since 1970. */
  startedAt: Count,
  /** Told before: after every welcome, because a slave that was away may have been taken for lost with its visits. */
  standing: Type.Optional(Type.Literal(true)),
  ended: Type.Optional(
    Type.Object({
      at: Count,
      bytesToTarget: Count,
      bytesFromTarget: Count,
      /** `finished`, or why it was cut. */
      reason: Text,
    }),
  ),
})
export type VisitReport = Static<typeof VisitReport>

/** Answered when they are written down: then the slave forgets them. */
export const MAX_REPORTS = 200
export const VisitedQuestion = Type.Object({ reports: Type.Array(VisitReport, { maxItems: MAX_REPORTS }) })
export const VisitedAnswer = Type.Object({})
