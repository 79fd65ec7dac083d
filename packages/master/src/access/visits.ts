// What slaves report of visits: told as events, written down in the audit. A visit has one record, at its begin and again at
// its end. A slave that does not hear that it was written down says it again, here or to another master.
import { atMost, type VisitReport } from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

import { visitAudit } from './audit-record.ts'
import type { AuditWriter } from './audit-writer.ts'

export interface VisitsDeps {
  writer: Pick<AuditWriter, 'add'>
  announce(type: string, data: object, scope?: { project?: string }): void
  count(what: 'opened' | 'closed'): void
}

/** Those that were announced lately: what is said again is no second event. */
const REMEMBERED = 20_000

export class Visits {
  readonly #deps: VisitsDeps
  readonly #told = new LRUCache<string, true>(atMost(REMEMBERED))

  constructor(deps: VisitsDeps) {
    this.#deps = deps
  }

  /** Resolves when it is written down, or given up. */
  report(report: VisitReport, slave: string): Promise<void> {
    const state = `${slave} ${report.id} ${report.ended ? 'closed' : 'opened'}`
    if (!this.#told.has(state)) {
      this.#told.set(state, true)
      this.#announce(report, slave)
    }
    return this.#deps.writer.add(visitAudit(report, slave))
  }

  #announce(report: VisitReport, slave: string): void {
    const { project, login, user, fingerprint, remoteAddress, target, forward, port } = report
    const { grant, account, via, ended } = report
    const data = {
      visit: report.id,
      user: login,
      userId: user,
      fingerprint,
      remoteAddress,
      target,
      ...(forward === undefined ? {} : { forward }),
      port,
      grant,
      ...(account === undefined ? {} : { account }),
      slave,
      ...(via === undefined ? {} : { via }),
      startedAt: new Date(report.startedAt).toISOString(),
    }
    this.#deps.count(ended ? 'closed' : 'opened')
    if (!ended) return this.#deps.announce('visit.opened', data, { project })
    const { at, ...more } = ended
    this.#deps.announce(
      'visit.closed',
      { ...data, endedAt: new Date(at).toISOString(), ...more },
      { project },
    )
  }
}
