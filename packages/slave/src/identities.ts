// "Who is this key?": asked of the master once, remembered here for as long as the answer allows, and while nobody
// can answer, for as long as a stale answer counts. Only positive answers are kept. Knows no connections.
import {
  atMost,
  fingerprintOf,
  errorText,
  Passing,
  type Identity,
  type Log,
  type WhoAnswer,
  type WhoQuestion,
} from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

import type { Leases } from './leases.ts'

const MAX_KEYS = 200_000
/** How often an ask is repeated because its key was invalidated meanwhile. */
const MAX_ROUNDS = 3

interface Remembered {
  identity: Identity
  /** ms on the monotonic clock. */
  freshUntil: number
  staleUntil: number
}

/** What the slave acts on: the identity, or why there is none. */
export type Recognition =
  | {
      outcome: 'known'
      identity: Identity
      /** Why nothing is said about a device: whoever was one still is. */
      outage?: string
      /** Why nothing is said about a user. */
      usersOut?: string
    }
  | { outcome: 'refused'; code: string; reason: string }
  | { outcome: 'outage'; reason: string }

export interface IdentitiesOptions {
  /** Asks the master; rejects when there is none. */
  ask(question: WhoQuestion): Promise<WhoAnswer>
  /** Keys of leases: this slave knows them by itself, and nobody needs to be asked. */
  leases?: Pick<Leases, 'identityOf' | 'refusalOf' | 'learn'>
  log: Log
}

/** Each key's answers by user name, and by address where the hook looked at it. */
type ByAsker = Map<string, Remembered>

export class Identities {
  readonly #options: IdentitiesOptions
  readonly #byKey = new LRUCache<string, ByAsker>(atMost(MAX_KEYS))
  /** Keys that are being asked about; the value is bumped by an invalidation that arrives meanwhile. */
  readonly #asking = new Passing<string, { askers: number; invalidated: number }>()
  readonly counters = { fresh: 0, stale: 0, asked: 0, outages: 0 }

  constructor(options: IdentitiesOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#byKey.size
  }

  /** Never rejects. */
  async who(question: WhoQuestion, options: { fresh?: boolean } = {}): Promise<Recognition> {
    const fingerprint = fingerprintOf(Buffer.from(question.publicKey, 'base64'))
    const lease = this.#options.leases?.identityOf(fingerprint)
    if (lease) return { outcome: 'known', identity: lease }
    const remembered = this.#remembered(fingerprint, question)
    if (
      remembered &&
      !options.fresh &&
      performance.now() < remembered.freshUntil &&
      !expired(remembered.identity)
    ) {
      this.counters.fresh++
      return { outcome: 'known', identity: remembered.identity }
    }
    const answer = await this.#ask(fingerprint, question)
    if (answer.outcome === 'known') return this.#withDevice(answer, fingerprint, question)
    const over = this.#options.leases?.refusalOf(fingerprint)
    if (over && (answer.outcome === 'outage' || answer.code === 'KEY_UNKNOWN'))
      return { outcome: 'refused', ...over }
    if (answer.outcome !== 'outage') return answer
    this.counters.outages++
    // Looked up again: an invalidation may have come while we asked, and then nothing stale may count.
    const stale = this.#remembered(fingerprint, question)
    if (!stale || performance.now() >= stale.staleUntil || expired(stale.identity)) return answer
    this.counters.stale++
    return { outcome: 'known', identity: stale.identity }
  }

  /** Forgets these keys (null: all), and makes those that are being asked about now ask again. */
  invalidate(fingerprints: readonly string[] | null): void {
    if (fingerprints === null) {
      this.#byKey.clear()
      for (const asking of this.#asking.values()) asking.invalidated++
      return
    }
    for (const fingerprint of fingerprints) {
      this.#byKey.delete(fingerprint)
      const asking = this.#asking.get(fingerprint)
      if (asking) asking.invalidated++
    }
  }

  async #ask(fingerprint: string, question: WhoQuestion): Promise<Recognition> {
    const asking = this.#asking.get(fingerprint) ?? { askers: 0, invalidated: 0 }
    this.#asking.set(fingerprint, asking)
    asking.askers++
    try {
      for (let round = 1; ; round++) {
        const before = asking.invalidated
        this.counters.asked++
        const answer = await this.#options.ask(question)
        if (asking.invalidated !== before && round < MAX_ROUNDS) continue
        // A refusal ends what was known before: it must not come back as a stale answer.
        if (answer.outcome === 'refused') this.#forget(fingerprint, question)
        if (answer.outcome !== 'known') return answer
        // About a device it says nothing: what is remembered of one must stay.
        if (answer.outage !== undefined)
          return { outcome: 'known', identity: answer.identity, outage: answer.outage }
        const { usersOut } = answer
        // A lease is kept with the leases, whose clock ends it; a remembered answer would outlive it.
        const { device } = answer.identity
        if (device?.lease === undefined) {
          if (asking.invalidated === before) this.#remember(fingerprint, question, answer)
        } else if (this.#options.leases?.learn(device, fingerprint) !== true) {
          return { outcome: 'refused', code: 'KEY_UNKNOWN', reason: 'this lease has ended' }
        }
        return {
          outcome: 'known',
          identity: answer.identity,
          ...(usersOut === undefined ? {} : { usersOut }),
        }
      }
    } catch (error) {
      this.#options.log.debug({ fingerprint, err: error }, 'nobody can say who this is')
      return { outcome: 'outage', reason: errorText(error) }
    } finally {
      if (--asking.askers === 0) this.#asking.delete(fingerprint)
    }
  }

  /** While the hook is out a user is known, and the device as it was known last. */
  #withDevice(
    answer: Extract<Recognition, { outcome: 'known' }>,
    fingerprint: string,
    question: WhoQuestion,
  ): Recognition {
    const stale = answer.outage === undefined ? undefined : this.#remembered(fingerprint, question)
    if (!stale?.identity.device || performance.now() >= stale.staleUntil || expired(stale.identity))
      return answer
    this.counters.stale++
    return { ...answer, identity: { ...answer.identity, device: stale.identity.device } }
  }

  #remembered(fingerprint: string, question: WhoQuestion): Remembered | undefined {
    const byAsker = this.#byKey.get(fingerprint)
    return byAsker?.get(asker(question, false)) ?? byAsker?.get(asker(question, true))
  }

  #forget(fingerprint: string, question: WhoQuestion): void {
    const byAsker = this.#byKey.get(fingerprint)
    byAsker?.delete(asker(question, false))
    byAsker?.delete(asker(question, true))
    if (byAsker?.size === 0) this.#byKey.delete(fingerprint)
  }

  #remember(
    fingerprint: string,
    question: WhoQuestion,
    answer: Extract<WhoAnswer, { outcome: 'known' }>,
  ): void {
    const now = performance.now()
    const byAsker: ByAsker = this.#byKey.get(fingerprint) ?? new Map()
    // A key that is offered under endless user names must not fill the memory.
    if (byAsker.size >= 16) byAsker.clear()
    byAsker.delete(asker(question, !answer.addressBound))
    byAsker.set(asker(question, answer.addressBound), {
      identity: answer.identity,
      freshUntil: now + answer.cacheMs,
      staleUntil: now + Math.max(answer.cacheMs, answer.staleMs),
    })
    this.#byKey.set(fingerprint, byAsker)
  }
}

function asker(question: WhoQuestion, withAddress: boolean): string {
  return withAddress ? `${question.username}\0${question.remoteAddress}` : question.username
}

function expired(identity: Identity): boolean {
  const expiresAt = identity.device?.expiresAt
  return expiresAt !== undefined && expiresAt <= Date.now()
}
