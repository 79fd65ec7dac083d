// The cluster link, written down: WebSocket subprotocol `sshoal.v1` on `/slaves`, text frames.
//
// A frame is a JSON array of messages; all messages of one tick of the event loop travel in one frame.
// A message is `[type, body]` (a notice), `[type, body, n]` (request n), `["=", answer, n]` or `["!", {code, error}, n]` (its answer).
//
//   slave                                   master
//     |  ---- upgrade, Bearer token ---------> |
//     |  <--------------------- challenge ---- |   a nonce
//     |  ---- hello -------------------------> |   who I am, signed with my host key over the nonce
//     |  ---- snapshot (0..n) ---------------> |   every tunnel I hold, at most 500 in each; the last says so
//     |  <----------------------- welcome ---- |   my link id, the clock, fixed ports, which tunnels lost meanwhile
//     |  ==== notices and requests both ways   |
//     |  ---- bye ---------------------------> |   I end on purpose: no grace
//
// State travels as snapshot, then deltas; every delta carries its tunnel's epoch, and an older one changes nothing.
// Unknown message types and fields are ignored (and counted), so neighbouring versions work together.
// Liveness: both sides send WebSocket pings (RFC 6455 §5.5.2) every 3 s; ten silent seconds end the link.
import { Type, type Static, type TSchema } from 'typebox'

import {
  OwnAnswer,
  OwnQuestion,
  PeerAnswer,
  PeerQuestion,
  ReachAnswer,
  ReachQuestion,
  UserRole,
  VisitAnswer,
  VisitedAnswer,
  VisitedQuestion,
  VisitQuestion,
} from './gate-protocol.ts'

export const SUBPROTOCOL = 'sshoal.v1'
/** The version this code speaks, and the oldest it still understands. */
export const PROTOCOL = { version: 1, oldest: 1 } as const
export const SNAPSHOT_TUNNELS = 500
export const MAX_FRAME_BYTES = 8 * 1024 * 1024
export const PING_EVERY_MS = 2_000
/** So that a slave whose master stands still hangs on another one before the record of it, not renewed for 8 s, is swept. */
export const SILENT_AFTER_MS = 6_000
/** How long either side waits for an answer to a request, in ms, when the caller names no other deadline. */
export const REQUEST_DEADLINE_MS = 5_000
/** What the host key signs: this word, the nonce and the slave id, each with a NUL behind it. */
export const LINK_CONTEXT = 'sshoal link v1'

const Count = Type.Integer({ minimum: 0 })
const Port = Type.Integer({ minimum: 0, maximum: 65_535 })
const Name = Type.String({ minLength: 1, maxLength: 255 })
const Text = Type.String({ maxLength: 4_096 })
/** Microseconds since 1970; rises with every tunnel of a holder. */
const Epoch = Type.Integer({ minimum: 1 })

/** One `-R` of a tunnel. `port`: where it listens (bound) or its number under its name (named). */
export const Forward = Type.Object({
  kind: Type.Union([Type.Literal('bound'), Type.Literal('named')]),
  bindAddress: Type.String({ maxLength: 255 }),
  bindPort: Port,
  port: Port,
})
export type Forward = Static<typeof Forward>

/** Who a tunnel belongs to: a device by its own keys, or one lease of it. */
export const Holder = Type.Object({ project: Name, device: Name, lease: Type.Optional(Name) })
export type Holder = Static<typeof Holder>

/** What travels with a tunnel from the hook: anything, at most 4 KB as JSON. */
export const Details = Type.Record(Type.String(), Type.Unknown())
export type Details = Static<typeof Details>

export const Tunnel = Type.Object({
  ...Holder.properties,
  epoch: Epoch,
  fingerprint: Type.String({ maxLength: 100 }),
  remoteAddress: Type.String({ maxLength: 100 }),
  /** ms since 1970. */
  connectedAt: Count,
  forwards: Type.Array(Forward, { maxItems: 1_024 }),
  details: Type.Optional(Details),
})
export type Tunnel = Static<typeof Tunnel>

/** Lets `tcpip-forward` through: the key is this device's. */
export const DeviceRole = Type.Object({
  project: Name,
  device: Name,
  lease: Type.Optional(Name),
  /** `ports[i]` is the i-th bound forward's. */
  ports: Type.Optional(Type.Array(Port, { maxItems: 64 })),
  maxForwards: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_024 })),
  /** ms between keepalives; 0: none. */
  keepaliveMs: Type.Optional(Count),
  /** ms since 1970. */
  expiresAt: Type.Optional(Count),
  /** Of a lease: how long it still lasts, ms. Clocks differ; spans do not. */
  remainingMs: Type.Optional(Count),
  details: Type.Optional(Details),
})
export type DeviceRole = Static<typeof DeviceRole>

/** The answer to "who is this key?". A key may have several roles; each request is allowed by the one that fits. */
export const Identity = Type.Object({
  device: Type.Optional(DeviceRole),
  user: Type.Optional(UserRole),
})
export type Identity = Static<typeof Identity>

export const WhoQuestion = Type.Object({
  publicKey: Type.String({ maxLength: 16_384 }),
  username: Type.String({ maxLength: 1_024 }),
  remoteAddress: Type.String({ maxLength: 100 }),
})
export type WhoQuestion = Static<typeof WhoQuestion>

export const WhoAnswer = Type.Union([
  Type.Object({
    outcome: Type.Literal('known'),
    identity: Identity,
    /** How long the slave may answer by itself, ms. */
    cacheMs: Count,
    /** How long this answer counts while the hook is out, ms. */
    staleMs: Count,
    /** The hook looked at the address: an answer for one is none for another. */
    addressBound: Type.Boolean(),
    /** The hook is out: nothing is said about a device, and what was known of one stands. */
    outage: Type.Optional(Text),
    /** The store is out: nothing is said about a user, and who was one stays one. */
    usersOut: Type.Optional(Text),
  }),
  Type.Object({ outcome: Type.Literal('refused'), reason: Text, code: Name }),
  Type.Object({ outcome: Type.Literal('outage'), reason: Text }),
])
export type WhoAnswer = Static<typeof WhoAnswer>

export const AdmitQuestion = Type.Object({
  ...Holder.properties,
  fingerprint: Type.String({ maxLength: 100 }),
  remoteAddress: Type.String({ maxLength: 100 }),
  /** The epoch of the tunnel that this slave itself holds for the holder; 0: none. */
  incumbent: Count,
})
export type AdmitQuestion = Static<typeof AdmitQuestion>

export const AdmitAnswer = Type.Union([
  Type.Object({ outcome: Type.Literal('admitted'), epoch: Epoch }),
  Type.Object({ outcome: Type.Literal('refused'), code: Name, reason: Text }),
])
export type AdmitAnswer = Static<typeof AdmitAnswer>

/** A port of this slave that only its holder may get. */
export const FixedPort = Type.Object({ ...Holder.properties, port: Port })
export type FixedPort = Static<typeof FixedPort>

/** A lease as its slave keeps it: a key that opens one port, until the time is over by the slave's own monotonic clock. */
export const LeaseGrant = Type.Object({
  project: Name,
  device: Name,
  lease: Name,
  fingerprint: Type.String({ maxLength: 100 }),
  port: Port,
  remainingMs: Count,
})
export type LeaseGrant = Static<typeof LeaseGrant>

export const LeaseQuestion = Type.Object({
  project: Name,
  device: Name,
  lease: Name,
  fingerprint: Type.String({ maxLength: 100 }),
  remainingMs: Count,
  /** Exactly this one; else any that is free. */
  port: Type.Optional(Port),
  /** A lease of the same device that ends with this one: where no other port is free, its port is. */
  replaces: Type.Optional(Name),
})
export type LeaseQuestion = Static<typeof LeaseQuestion>

/** `refused`: NO_PORT, PORT_TAKEN, PORT_OUT_OF_RANGE or DRAINING. */
export const LeaseAnswer = Type.Union([
  Type.Object({ outcome: Type.Literal('granted'), port: Port }),
  Type.Object({ outcome: Type.Literal('refused'), code: Name, reason: Text }),
])
export type LeaseAnswer = Static<typeof LeaseAnswer>

const HostKey = Type.Object({ algorithm: Name, publicKey: Type.String({ maxLength: 16_384 }) })

/** What a slave counts and the master repeats; gauges of now. */
export const SlaveStatus = Type.Object({
  /** Share of one core that the event loop was busy, 0 to 1, over the last interval. */
  load: Type.Number({ minimum: 0 }),
  visits: Count,
  connections: Count,
})
export type SlaveStatus = Static<typeof SlaveStatus>

export const Hello = Type.Object({
  protocol: Type.Object({ version: Count, oldest: Count }),
  id: Name,
  /** Random per process: tells a restarted slave from a reconnected one. */
  instance: Name,
  version: Name,
  publicHost: Type.Optional(Name),
  publicPort: Port,
  /** All ports on which devices may reach it, for `/connect?port=`. */
  sshPorts: Type.Array(Port, { minItems: 1, maxItems: 64 }),
  forwardHost: Type.Optional(Name),
  forwardAddress: Name,
  forwardPorts: Type.Object({ first: Port, last: Port }),
  region: Type.Optional(Name),
  capacity: Type.Integer({ minimum: 1 }),
  uptimeSeconds: Count,
  draining: Type.Boolean(),
  /** Its own addresses that are not loopback. */
  addresses: Type.Array(Name, { maxItems: 64 }),
  hostKeys: Type.Array(HostKey, { minItems: 1, maxItems: 8 }),
  /** SSH signature blob (RFC 4253 §6.6) of the first host key, base64. */
  signature: Type.String({ maxLength: 16_384 }),
  /** Where the slave stands in the numbered invalidations; undefined: nowhere yet. */
  invalidation: Type.Optional(Type.Object({ store: Name, number: Count })),
  /** How many tunnels the snapshot will hold. */
  tunnels: Count,
  /** Where other slaves hand visits over; without a host: where the master sees the slave. Missing: nowhere. */
  relay: Type.Optional(Type.Object({ host: Type.Optional(Name), port: Port })),
  /** It may dial hosts (`--dial`), which ones is its own to say. */
  dials: Type.Optional(Type.Boolean()),
  /** Where it serves its status. Missing: nowhere. */
  statusPort: Type.Optional(Port),
})
export type Hello = Static<typeof Hello>

/** Slave to master, nobody answers. */
export const slaveNotices = {
  hello: Hello,
  snapshot: Type.Object({
    tunnels: Type.Array(Tunnel, { maxItems: SNAPSHOT_TUNNELS }),
    last: Type.Boolean(),
  }),
  'tunnel.up': Tunnel,
  'tunnel.changed': Type.Object({
    ...Holder.properties,
    epoch: Epoch,
    forwards: Type.Array(Forward, { maxItems: 1_024 }),
  }),
  'tunnel.down': Type.Object({ ...Holder.properties, epoch: Epoch, reason: Text }),
  /** Something was refused; the master folds and keeps it. */
  refused: Type.Object({
    code: Name,
    reason: Text,
    remoteAddress: Type.String({ maxLength: 100 }),
    username: Type.Optional(Type.String({ maxLength: 1_024 })),
    publicKey: Type.Optional(Type.String({ maxLength: 16_384 })),
    project: Type.Optional(Name),
    device: Type.Optional(Name),
    user: Type.Optional(Name),
  }),
  /** A take-over whose loser still answered within 3 s. */
  contested: Type.Object({ ...Holder.properties, epoch: Epoch, remoteAddress: Text, incumbentAddress: Text }),
  status: SlaveStatus,
  draining: Type.Object({ draining: Type.Boolean() }),
  bye: Type.Object({ reason: Text }),
} satisfies Record<string, TSchema>

/** Slave to master, answered. */
export const slaveRequests = {
  who: { question: WhoQuestion, answer: WhoAnswer },
  admit: { question: AdmitQuestion, answer: AdmitAnswer },
  visit: { question: VisitQuestion, answer: VisitAnswer },
  reach: { question: ReachQuestion, answer: ReachAnswer },
  peer: { question: PeerQuestion, answer: PeerAnswer },
  own: { question: OwnQuestion, answer: OwnAnswer },
  /** Visits through the gate began or ended. */
  visited: { question: VisitedQuestion, answer: VisitedAnswer },
} satisfies Catalogue

/** Master to slave, nobody answers. */
export const masterNotices = {
  challenge: Type.Object({ nonce: Type.String({ minLength: 32, maxLength: 256 }), master: Name }),
  welcome: Type.Object({
    link: Name,
    /** The master's clock, microseconds since 1970. */
    nowMicros: Count,
    /** The address from which the master sees the slave. */
    seenAddress: Type.String({ maxLength: 100 }),
    invalidation: Type.Object({ store: Name, number: Count }),
    fixedPorts: Type.Array(FixedPort),
    /** All leases of this slave; one that is not named is over. Missing: this master knows no leases. */
    leases: Type.Optional(Type.Array(LeaseGrant)),
    /** Tunnels that lost to a newer one elsewhere while the slave was away. */
    lost: Type.Array(Type.Object({ ...Holder.properties, epoch: Epoch, reason: Text })),
  }),
  fixedPorts: Type.Object({ fixedPorts: Type.Array(FixedPort) }),
} satisfies Record<string, TSchema>

/** Master to slave, answered. */
export const masterRequests = {
  /** Cuts the holder's tunnel; with an epoch only if it is not newer. The device may come back. */
  cut: {
    question: Type.Object({ ...Holder.properties, epoch: Type.Optional(Epoch), reason: Text }),
    answer: Type.Object({ cut: Type.Boolean() }),
  },
  /** A newer tunnel of the holder stands elsewhere: close the forwards now, say whether the loser still answered within 3 s. */
  yield: {
    question: Type.Object({ ...Holder.properties, epoch: Epoch, reason: Text }),
    answer: Type.Object({ cut: Type.Boolean(), contested: Type.Boolean() }),
  },
  /** Does the holder's connection answer a keepalive within 3 s? */
  probe: { question: Holder, answer: Type.Object({ alive: Type.Boolean() }) },
  /** Forget what is cached about these keys, ask again for those that are connected, cut what is now refused. Null: all keys. */
  invalidate: {
    question: Type.Object({
      number: Count,
      /** Whose number it is: another store counts by itself, and its first number says nothing of missed ones. */
      store: Type.Optional(Name),
      fingerprints: Type.Union([Type.Null(), Type.Array(Name, { maxItems: 10_000 })]),
    }),
    answer: Type.Object({ cut: Count }),
  },
  /** Makes a lease, or gives one that stands another time. The slave chooses the port: only it knows which are free. */
  lease: { question: LeaseQuestion, answer: LeaseAnswer },
  /** Ends a lease in one step: its key is refused, its tunnel cut, its port free. */
  unlease: {
    question: Type.Object({ lease: Name, code: Name, reason: Text }),
    answer: Type.Object({ cut: Type.Boolean() }),
  },
  drain: {
    question: Type.Object({ overMs: Count }),
    answer: Type.Object({ tunnels: Count }),
  },
} satisfies Catalogue

export interface Exchange {
  question: TSchema
  answer: TSchema
}
export type Catalogue = Record<string, Exchange>
export type Notices = Record<string, TSchema>
