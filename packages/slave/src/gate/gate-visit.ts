// One visit through the gate, from the question to its end: what was granted, until when, and how it is cut.
// Both the slave where the user logged in and the slave that carries it have one. Knows no connections.
import { randomUUID } from 'node:crypto'

import type { VisitGrant, VisitQuestion, VisitReport } from '@sshoal/shared'

import type { SshChannel, VisitEnd } from '../ssh2/index.ts'
import { cleanText } from './clean-text.ts'
import type { FarEnd, VisitRefusal } from './far-end.ts'

/** A grant that ends now and is given again must not be asked for without pause. */
const SHORTEST_TIMER_MS = 50
/** The longest span that setTimeout takes. */
const LONGEST_TIMER_MS = 0x7fffffff

export interface VisitFacts {
  /** Given by the slave where the user logged in. */
  id?: string
  question: VisitQuestion
  login: string
  /** By which another slave let it in, as that one says. */
  named?: string
  /** Why the side of the user is gone; undefined: it is there. For the reason of an end. */
  whyGone(): string | undefined
}

export class GateVisit {
  readonly id: string
  readonly question: VisitQuestion
  readonly login: string
  readonly named: string | undefined
  readonly #whyGone: () => string | undefined
  grant: VisitGrant | undefined
  /** Set by whoever ends it on purpose; what is told as the reason. */
  cutFor: string | undefined
  /** Counts the changes that concern it: an answer from before one is no answer. */
  invalidated = 0
  startedAt = 0
  #far: FarEnd | undefined
  #channel: SshChannel | undefined
  #until: NodeJS.Timeout | undefined

  constructor(facts: VisitFacts) {
    this.id = facts.id ?? randomUUID()
    this.question = facts.question
    this.login = facts.login
    this.named = facts.named
    this.#whyGone = facts.whyGone
  }

  whyGone(): string | undefined {
    return this.#whyGone()
  }

  /** It stands: both ends are there. */
  get live(): boolean {
    return this.#channel !== undefined
  }

  /** Joins both ends; resolves when it is over. */
  async run(channel: SshChannel, far: FarEnd): Promise<VisitEnd> {
    this.startedAt = Date.now()
    this.#channel = channel
    this.#far = far
    const joined = far.join(channel)
    // It was cut after the far end had been reached and before the user's channel stood.
    if (this.cutFor !== undefined) this.cut(this.cutFor)
    const end = await joined
    clearTimeout(this.#until)
    return end
  }

  /** Ends it at once, in both directions. */
  cut(reason: string): void {
    this.cutFor ??= reason
    // The far end first: a relay is told why before it is closed.
    this.#far?.destroy(reason)
    this.#channel?.destroy()
  }

  /** Takes what was granted; `onUntil` is called when its time is over. */
  granted(grant: VisitGrant, onUntil: () => void): void {
    this.grant = grant
    clearTimeout(this.#until)
    const { remainingMs } = grant
    if (remainingMs === undefined) return
    const endsAt = performance.now() + Math.max(remainingMs, SHORTEST_TIMER_MS)
    const wait = (): void => {
      const leftMs = endsAt - performance.now()
      if (leftMs <= 0) onUntil()
      else this.#until = setTimeout(wait, Math.min(leftMs, LONGEST_TIMER_MS))
    }
    wait()
  }

  /** It did not come about. */
  abandoned(): void {
    clearTimeout(this.#until)
  }

  /** As the wire carries it; undefined before it was granted. */
  report(end?: VisitEnd): VisitReport | undefined {
    const { grant, question } = this
    if (!grant) return undefined
    const { via, target: _asked, ...who } = question
    return {
      id: this.id,
      ...who,
      login: this.login,
      target: grant.target,
      ...(grant.forward === undefined ? {} : { forward: grant.forward }),
      grant: grant.grant,
      ...(grant.account === undefined ? {} : { account: grant.account }),
      ...(via === undefined ? {} : { via }),
      startedAt: this.startedAt,
      ...(end
        ? {
            ended: {
              at: Date.now(),
              bytesToTarget: end.bytesFromChannel,
              bytesFromTarget: end.bytesToChannel,
              reason: this.#reasonOf(end),
            },
          }
        : {}),
    }
  }

  /** Only a slave that relays knows the request, and only of its visits it is believed. */
  #toldWhy(): string | undefined {
    const why = this.question.via === undefined ? undefined : this.#channel?.toldWhy
    return why === undefined ? undefined : cleanText(why)
  }

  #reasonOf(end: VisitEnd): string {
    if (this.cutFor !== undefined) return this.cutFor
    if (end.reason === 'finished') return 'finished'
    return this.#whyGone() ?? this.#toldWhy() ?? this.#far?.whyGone?.() ?? 'closed by one side'
  }
}

/** The refusal that a cut visit gets where it does not stand yet. */
export function cutRefusal(visit: GateVisit): VisitRefusal | undefined {
  return visit.cutFor === undefined ? undefined : { code: 'CUT', reason: visit.cutFor }
}
