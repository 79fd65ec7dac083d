// The gate: lets users through to targets. Asks the master about every visit, opens the far end here or at the slave that
// has it, joins both, and asks again whenever something changes. Nothing is remembered that would allow a visit.
import type { UserRole } from '@sshoal/shared'

import { refusalText } from '../refusal.ts'
import type { SlaveParts } from '../slave-parts.ts'
import { OpenFailure, type DirectRequest, type DirectVerdict } from '../ssh2/index.ts'
import { cleanText } from './clean-text.ts'
import { notReached, type FarEnd, type Reached, type VisitRefusal } from './far-end.ts'
import { cutRefusal, GateVisit } from './gate-visit.ts'
import type { GateVisits } from './gate-visits.ts'
import { reachDevice } from './reach-device.ts'

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
  isHere(): boolean
}

export type GateParts = Pick<SlaveParts, 'id' | 'settings' | 'tunnels' | 'metrics' | 'log' | 'link'>

export class Gate {
  readonly #parts: GateParts
  readonly #visits: GateVisits

  constructor(parts: GateParts, visits: GateVisits) {
    this.#parts = parts
    this.#visits = visits
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
      userIsHere: () => visitor.isHere(),
    })
    visitor.visits++
    this.#visits.add(visit)
    const over = (): void => {
      visitor.visits--
      this.#visits.delete(visit)
    }
    const reached = await this.#find(visit)
    if (reached.outcome === 'refused') {
      over()
      return this.#refuse(reached.refusal)
    }
    return this.#accept(visit, reached.far, over)
  }

  #accept(visit: GateVisit, far: FarEnd, over: () => void): DirectVerdict {
    return {
      outcome: 'accept',
      opened: (channel) => {
        void visit.run(channel, far).then((end) => {
          this.#visits.ended(visit, end)
          over()
        })
        this.#visits.began(visit)
      },
      abandoned: () => {
        far.destroy()
        visit.abandoned()
        over()
      },
    }
  }

  #refuse({ code, reason, connectFailed, moved }: VisitRefusal): DirectVerdict {
    this.#parts.metrics.visitsRefused.inc({ reason: code.toLowerCase() })
    return {
      outcome: 'refuse',
      text: cleanText(refusalText({ code, reason })),
      ...(connectFailed || moved ? { code: OpenFailure.CONNECT_FAILED } : {}),
    }
  }

  /** Asks and reaches, again where the target moves or something changed meanwhile. */
  async #find(visit: GateVisit): Promise<Reached> {
    const until = performance.now() + MOVING_MS
    for (;;) {
      const before = visit.invalidated
      const reached = await this.#reach(visit)
      const cut = cutRefusal(visit)
      if (reached.outcome === 'reached') {
        if (!cut && before === visit.invalidated) return reached
        reached.far.destroy()
      }
      if (cut) return notReached(cut)
      if (reached.outcome === 'refused' && before === visit.invalidated) {
        const mayCome = reached.refusal.moved === true && performance.now() < until
        if (!mayCome) return reached
        await new Promise((resolve) => setTimeout(resolve, MOVING_STEP_MS))
      }
    }
  }

  async #reach(visit: GateVisit): Promise<Reached> {
    const answer = await this.#visits.ask(visit)
    if (answer.outcome === 'refused') return notReached(answer)
    const { to, target, forward, carrier } = answer
    if (carrier.slave !== this.#parts.id)
      return notReached({ code: 'NO_CARRIER', reason: `${target} is on another slave` })
    if (to.kind === 'host') return notReached({ code: 'NO_CARRIER', reason: `${target} is a host` })
    return reachDevice(this.#parts, visit, { ...to, target, ...(forward === undefined ? {} : { forward }) })
  }
}
