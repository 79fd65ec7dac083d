// How the masters of one cluster tell each other what their slaves tell them. Two implementations: alone (solo-feed.ts) and
// over Redis (redis-feed.ts). A feed carries changes in the order of each slave's link, notices when it missed some, and
// then hands over the whole again; what it carries is state, so hearing a thing twice changes nothing.
import type { Answers, Hello, Holder, masterRequests, Questions, SlaveStatus, Tunnel } from '@sshoal/shared'

import type { Refused } from '../cluster-deps.ts'
import type { MasterView } from '../cluster.ts'

/** A slave as its master registered it. */
export interface SlaveFacts {
  hello: Hello
  seenAddress: string
  state: 'ready' | 'stale' | 'draining'
  /** ms since 1970. */
  registeredAt: number
  /** When the link was accepted, µs of the cluster's clock: of two links the later one speaks for the slave. */
  since: number
}

/** Changes about a slave carry the link that spoke; one that is not the slave's current link is dropped (fencing). */
export type SlaveChange =
  /** A link was proven. All tunnels of it follow as `up`, then `synced`; what was not named again is gone. */
  | { type: 'joining'; slave: string; link: string; facts: SlaveFacts }
  | { type: 'synced'; slave: string; link: string }
  | { type: 'state'; slave: string; link: string; facts: SlaveFacts }
  | { type: 'status'; slave: string; link: string; status: SlaveStatus }
  | { type: 'gone'; slave: string; link: string; reason: string }
  /** `arrived`: it uses up a slot. */
  | { type: 'up'; slave: string; link: string; tunnel: Tunnel; arrived: boolean }
  | { type: 'changed'; slave: string; link: string; tunnel: Tunnel }
  | { type: 'down'; slave: string; link: string; holder: Holder; epoch: number; reason: string }

/** Changes that concern no single slave. */
export type ClusterChange =
  | { type: 'slots'; slaves: string[] }
  | { type: 'invalidate'; number: number; store: string; fingerprints: string[] | null }
  | { type: 'fixedPorts' }
  | { type: 'contested'; holder: Holder }
  | { type: 'refused'; refusal: Refused }
  | { type: 'revoked'; token: string }
  | {
      type: 'event'
      event: { type: string; data: object; scope: { project?: string; source?: string; reason?: string } }
    }

export type FeedChange = SlaveChange | ClusterChange

/** Everything that other masters hold, read in one go. */
export interface FeedSnapshot {
  slaves: {
    slave: string
    link: string
    master: string
    facts: SlaveFacts
    status: SlaveStatus
    tunnels: Tunnel[]
    /** False: its master is still saying its tunnels; the rest and `synced` follow as changes. */
    synced: boolean
  }[]
}

export interface FeedListener {
  /** Of another master. */
  onChange(change: FeedChange, master: string): void
  /** Something was missed, or it is the start: this is what the others hold now. */
  onSnapshot(snapshot: FeedSnapshot): void
  /**
   * The feed was away and is back, or lost what it held (`only`: of these slaves): what is linked here, as `publish` would
   * be told it. Read bit by bit, as fast as it can be sent, with what is published meanwhile in between.
   */
  holdings(only?: ReadonlySet<string>): Iterable<FeedChange>
  /** All slaves that other masters should have renewed lately and did not: they may be there, and get no devices. */
  onSilent(slaves: ReadonlySet<string>): void
  /** A request of another master for a slave that is linked here. Throws LINK_LOST where it is not. */
  onRequest(slave: string, type: SlaveRequest, question: unknown): Promise<unknown>
}

export type SlaveRequest = keyof typeof masterRequests
export type Question<T extends SlaveRequest> = Questions<typeof masterRequests>[T]
export type Answer<T extends SlaveRequest> = Answers<typeof masterRequests>[T]

/** What a choice among slaves needs to know; the feed knows the reservations. */
export interface SlotCandidate {
  id: string
  tunnels: number
  capacity: number
}

export interface ClusterFeed {
  /** Listens from now on; resolves when the first snapshot was handed over. */
  start(listener: FeedListener): Promise<void>
  /** Sent in order, batched by the tick; never throws. While the feed is away it is dropped: `holdings` make up for it. */
  publish(change: FeedChange): void
  /**
   * Chooses the least busy of `candidates(n)` (the n that come first by what we know, ordered by id) and reserves a place on it,
   * atomically over all masters. Those who ask with the same `wish` together share one look at the candidates.
   * Undefined: the feed cannot say now; choose by what you know.
   */
  reserve(
    wish: string,
    candidates: (count: number) => readonly SlotCandidate[],
  ): Promise<string | undefined> | undefined
  /** Asks a slave that is linked to another master. Rejects with LINK_LOST or LINK_DEADLINE. */
  request<T extends SlaveRequest>(
    master: string,
    slave: string,
    type: T,
    question: Question<T>,
    deadlineMs: number,
  ): Promise<Answer<T>>
  /** The cluster's clock, µs since 1970. */
  nowMicros(): number
  /** Other masters that are alive. */
  others(): MasterView[]
  close(): Promise<void>
}
