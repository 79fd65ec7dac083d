// Every visit through the gate that this slave lets in or carries, by key, so that a change finds them: it asks the master
// again for each, and cuts those that are not granted any more. An outage cuts nobody, except where the time is over.
import type { VisitAnswer, VisitReport } from '@sshoal/shared'

import type { SlaveParts } from '../slave-parts.ts'
import type { VisitEnd } from '../ssh2/index.ts'
import type { GateVisit } from './gate-visit.ts'
import type { VisitReports } from './visit-reports.ts'

const ASK_DEADLINE_MS = 5_000
/** Visits that are asked about at once when all are rechecked. */
const RECHECKS_AT_ONCE = 64
/** These say nothing about the right to be there. */
const NOT_ABOUT_RIGHTS = new Set(['TARGET_OFFLINE', 'NO_CARRIER'])

type Refused = Extract<VisitAnswer, { outcome: 'refused' }>

export interface GateVisitsParts extends Pick<SlaveParts, 'id' | 'link' | 'metrics' | 'log'> {
  reports: VisitReports
}

export class GateVisits {
  readonly #parts: GateVisitsParts
  readonly #byKey = new Map<string, Set<GateVisit>>()
  #size = 0

  constructor(parts: GateVisitsParts) {
    this.#parts = parts
  }

  get size(): number {
    return this.#size
  }

  add(visit: GateVisit): void {
    const { fingerprint } = visit.question
    const same = this.#byKey.get(fingerprint) ?? new Set()
    this.#byKey.set(fingerprint, same.add(visit))
    this.#size++
  }

  delete(visit: GateVisit): void {
    const { fingerprint } = visit.question
    const same = this.#byKey.get(fingerprint)
    if (!same?.delete(visit)) return
    this.#size--
    if (same.size === 0) this.#byKey.delete(fingerprint)
  }

  /** Those that stand and are carried here, as they are told again to a master that may have taken them for lost. */
  standing(): VisitReport[] {
    const reports: VisitReport[] = []
    for (const same of this.#byKey.values())
      for (const visit of same) {
        const report = visit.live && this.#isCarried(visit) ? visit.report() : undefined
        if (report) reports.push({ ...report, standing: true })
      }
    return reports
  }

  began(visit: GateVisit): void {
    this.#tell(visit)
  }

  ended(visit: GateVisit, end: VisitEnd): void {
    this.#tell(visit, end)
  }

  /** May this visit be? Takes what is granted into the visit. Never rejects; an outage is a refusal with TRY_LATER. */
  async ask(visit: GateVisit): Promise<VisitAnswer> {
    let answer: VisitAnswer
    try {
      answer = await this.#parts.link.request('visit', visit.question, ASK_DEADLINE_MS)
    } catch (error) {
      this.#parts.log.debug({ err: error, target: visit.question.target }, 'nobody can say who may visit')
      return {
        outcome: 'refused',
        code: 'TRY_LATER',
        reason: 'it cannot be checked right now what you may reach; try again later',
      }
    }
    if (answer.outcome === 'granted') visit.granted(answer, () => void this.#onUntil(visit))
    return answer
  }

  /** Asks again about all visits with these keys (null: all); resolves with how many were cut. */
  async recheck(fingerprints: readonly string[] | null): Promise<number> {
    const keys = fingerprints ?? [...this.#byKey.keys()]
    const found = keys.flatMap((fingerprint) => [...(this.#byKey.get(fingerprint) ?? [])])
    let cut = 0
    let next = 0
    const worker = async (): Promise<void> => {
      for (let visit = found[next++]; visit; visit = found[next++]) if (await this.#recheck(visit)) cut++
    }
    for (const visit of found) visit.invalidated++
    await Promise.all(Array.from({ length: Math.min(RECHECKS_AT_ONCE, found.length) }, worker))
    return cut
  }

  cutAll(reason: string): void {
    for (const same of this.#byKey.values()) for (const visit of same) visit.cut(reason)
  }

  async #recheck(visit: GateVisit): Promise<boolean> {
    // One that is still being opened asks again by itself.
    if (!visit.live) return false
    let before: number
    let answer: VisitAnswer
    do {
      before = visit.invalidated
      answer = await this.ask(visit)
    } while (before !== visit.invalidated)
    if (answer.outcome === 'granted' || answer.code === 'TRY_LATER' || NOT_ABOUT_RIGHTS.has(answer.code))
      return false
    this.#cut(visit, answer)
    return true
  }

  async #onUntil(visit: GateVisit): Promise<void> {
    const answer = await this.ask(visit)
    if (answer.outcome === 'granted' || NOT_ABOUT_RIGHTS.has(answer.code)) return
    this.#cut(visit, { ...answer, reason: 'the time of the grant is over' })
  }

  #cut(visit: GateVisit, { code, reason }: Refused): void {
    this.#parts.metrics.gateVisitsCut.inc({ reason: code.toLowerCase() })
    this.#parts.log.info({ visit: visit.id, user: visit.question.user, code, reason }, 'visit cut')
    visit.cut(reason)
  }

  /** Who carries a visit tells of it, and nobody else. */
  #tell(visit: GateVisit, end?: VisitEnd): void {
    if (!this.#isCarried(visit)) return
    const report = visit.report(end)
    if (report) this.#parts.reports.send(report)
  }

  #isCarried(visit: GateVisit): boolean {
    return visit.grant?.carrier.slave === this.#parts.id
  }
}
