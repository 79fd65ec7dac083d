// The gate: lets users through to targets. Asks the master about every visit, opens the far end here or at the slave that
// has it, joins both, and asks again whenever something changes. Nothing is remembered that would allow a visit.
import type { ReachAnswer, RelayedVisit, UserRole } from '@sshoal/shared'

import { refusalText } from '../refusal.ts'
import type { SlaveParts } from '../slave-parts.ts'
import { OpenFailure, type DirectRequest, type DirectVerdict } from '../ssh2/index.ts'
import { cleanText } from './clean-text.ts'
import type { Dialer } from './dialer.ts'
import { notReached, type Reached, type VisitRefusal } from './far-end.ts'
import type { GateSockets } from './gate-sockets.ts'
import { cutRefusal, GateVisit } from './gate-visit.ts'
import type { GateVisits } from './gate-visits.ts'
import { reachDevice } from './reach-device.ts'
import { reachHost } from './reach-host.ts'
import { reachRelay } from './reach-relay.ts'
import type { RelayPool } from './relay-pool.ts'

/** Targets that `ssh GATE` shows by name. */
const REACH_LIMIT = 100
const REACH_DEADLINE_MS = 5_000
/** A device that moves is looked for again this long, and this often. */
const MOVING_MS = 3_000
const MOVING_STEP_MS = 200

/** A user who is connected. */
export interface Visitor {
  user: UserRole
  fingerprint: string
  remoteAddress: string
  /** Visits of this connection, and those that are being opened. */
  visits: number
  /** Why it is gone; undefined: it is there. */
  whyGone(): string | undefined
}

export interface GateParts extends Pick<SlaveParts, 'id' | 'settings' | 'tunnels' | 'metrics' | 'link'> {
  visits: GateVisits
  relays: RelayPool
  sockets: GateSockets
  dialer: Dialer
}

export class Gate {
  readonly #parts: GateParts

  constructor(parts: GateParts) {
    this.#parts = parts
  }

  /** Of users' connections too, which somebody else owns. */
  get sockets(): GateSockets {
    return this.#parts.sockets
  }

  /** What may this user reach? Undefined: nobody can say now. */
  async reach({ project, user }: UserRole): Promise<ReachAnswer | undefined> {
    try {
      return await this.#parts.link.request('reach', { project, user, limit: REACH_LIMIT }, REACH_DEADLINE_MS)
    } catch {
      return undefined
    }
  }

  /** A `direct-tcpip` of a user. Never rejects. */
  async visit(visitor: Visitor, request: DirectRequest): Promise<DirectVerdict> {
    const { settings } = this.#parts
    const { address: target, port } = request
    if (target === '' || target.length > 255 || port < 1 || port > 65_535)
      return this.#refuse({ code: 'TARGET_INVALID', reason: `${target.slice(0, 63)}:${port} is no target` })
    if (visitor.visits >= settings.maxUserVisits)
      return this.#refuse({
        code: 'TOO_MANY_VISITS',
        reason: `at most ${settings.maxUserVisits} visits per connection`,
      })
    const { project, user, login } = visitor.user
    const { fingerprint, remoteAddress } = visitor
    const visit = new GateVisit({
      question: { project, user, fingerprint, remoteAddress, target, port },
      login,
      whyGone: () => visitor.whyGone(),
    })
    visitor.visits++
    return this.#open(
      visit,
      () => this.#find(visit),
      () => {
        visitor.visits--
      },
    )
  }

  /** A visit that another slave hands over. Asks for itself; what is not here is never handed on. */
  carry(
    { id, login, grant, question }: RelayedVisit,
    whyGone: () => string | undefined,
  ): Promise<DirectVerdict> {
    const visit = new GateVisit({ id, login, question, named: grant, whyGone })
    return this.#open(
      visit,
      () => this.#once(visit),
      () => {},
    )
  }

  async #open(visit: GateVisit, find: () => Promise<Reached>, onOver: () => void): Promise<DirectVerdict> {
    const { visits } = this.#parts
    visits.add(visit)
    const over = (): void => {
      visits.delete(visit)
      onOver()
    }
    const reached = await find()
    if (reached.outcome === 'refused') {
      visit.abandoned()
      over()
      return this.#refuse(reached.refusal, visit.question.via !== undefined)
    }
    const { far } = reached
    return {
      outcome: 'accept',
      opened: (channel) => {
        void visit.run(channel, far).then((end) => {
          visits.ended(visit, end)
          over()
        })
        visits.began(visit)
      },
      abandoned: () => {
        far.destroy()
        visit.abandoned()
        over()
      },
    }
  }

  #refuse({ code, reason, connectFailed, askAgain }: VisitRefusal, relayed = false): DirectVerdict {
    this.#parts.metrics.visitsRefused.inc({ reason: code.toLowerCase() })
    const { ASK_AGAIN, CONNECT_FAILED, ADMINISTRATIVELY_PROHIBITED } = OpenFailure
    const failed = connectFailed || askAgain ? CONNECT_FAILED : ADMINISTRATIVELY_PROHIBITED
    return {
      outcome: 'refuse',
      text: cleanText(refusalText({ code, reason })),
      code: askAgain && relayed ? ASK_AGAIN : failed,
    }
  }

  /** Again, for a while, where the target is on the move or something else just changed. */
  async #find(visit: GateVisit): Promise<Reached> {
    const until = performance.now() + MOVING_MS
    for (;;) {
      const reached = await this.#once(visit)
      const mayCome =
        reached.outcome === 'refused' &&
        reached.refusal.askAgain === true &&
        performance.now() < until &&
        visit.whyGone() === undefined
      if (!mayCome) return reached
      await new Promise((resolve) => setTimeout(resolve, MOVING_STEP_MS))
    }
  }

  /** Asks and reaches, again where something changed meanwhile. */
  async #once(visit: GateVisit): Promise<Reached> {
    for (;;) {
      const before = visit.invalidated
      const reached = await this.#reach(visit)
      const cut = cutRefusal(visit)
      if (before === visit.invalidated && !cut) return reached
      if (reached.outcome === 'reached') reached.far.destroy()
      if (cut) return notReached(cut)
    }
  }

  async #reach(visit: GateVisit): Promise<Reached> {
    const { id, visits, relays } = this.#parts
    const answer = await visits.ask(visit)
    if (answer.outcome === 'refused') return notReached(answer)
    const { to, target, forward, carrier, grant } = answer
    // Only at the begin: a visit that stands may go on by another grant.
    if (visit.named !== undefined && visit.named !== grant)
      return notReached({
        code: 'OTHER_GRANT',
        reason: `what lets you reach ${target} has just changed; try again`,
        askAgain: true,
      })
    if (carrier.slave !== id) {
      if (visit.question.via === undefined) return reachRelay(relays, id, visit, answer)
      return notReached({ code: 'TARGET_OFFLINE', reason: `${target} is elsewhere by now`, askAgain: true })
    }
    if (to.kind === 'host') return reachHost(this.#parts, target, to)
    return reachDevice(this.#parts, visit, { ...to, target, ...(forward === undefined ? {} : { forward }) })
  }
}
