// What a visit is joined with behind the gate: a channel of a device, the socket of a host, or a relay. And why there is none.
import type { SshChannel, VisitEnd } from '../ssh2/index.ts'

export interface FarEnd {
  /** Pumps until both directions ended; the counts are as `channel`, the user's side, sees them. Never rejects. */
  join(channel: SshChannel): Promise<VisitEnd>
  /** Closes it at once, joined or not; where it is a relay, tells the slave at its end why. */
  destroy(reason?: string): void
  /** Why it is gone; undefined: it is there, or only it knows. */
  whyGone?(): string | undefined
}

/** Why a visit does not come about. */
export interface VisitRefusal {
  code: string
  reason: string
  /** It was allowed, but there is nobody at the other end now. */
  connectFailed?: boolean
  /** Something changed meanwhile, such as where the target is: who asks the master again may get through. */
  askAgain?: boolean
}

export type Reached = { outcome: 'reached'; far: FarEnd } | { outcome: 'refused'; refusal: VisitRefusal }

export function notReached(refusal: VisitRefusal): Reached {
  return { outcome: 'refused', refusal }
}
