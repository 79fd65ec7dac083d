// What slaves report of visits: told as events, written down in the audit. A visit has one record, at its begin and again at
// its end. A slave that does not hear that it was written down says it again, here or to another master. Who was lost with
// its visits says nothing any more (lost-visits.ts).
import { atMost, type VisitReport } from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

import { visitAudit, type AuditRecord } from './audit-record.ts'
import type { AuditWriter } from './audit-writer.ts'
import type { GateSlaves } from './carriers.ts'

export interface VisitsDeps {
  writer: Pick<AuditWriter, 'add'>
  slaves: Pick<GateSlaves, 'get'>
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
    const record = visitAudit(report, slave, this.#deps.slaves.get(slave)?.hello.instance)
    const state = `${slave} ${report.id} ${report.ended ? 'closed' : 'opened'}`
    if (!report.standing && !this.#told.has(state)) {
      this.#told.set(state, true)
      this.announce(record)
    }
    return this.#deps.writer.add(record)
  }

  announce({ project, user, userId, fingerprint, target, grant, at, visit }: AuditRecord): void {
    if (!visit) return
    const { id, process: _process, ended, ...way } = visit
    const startedAt = new Date(at).toISOString()
    const data = { visit: id, user, userId, fingerprint, target, grant, ...way, startedAt }
    this.#deps.count(ended ? 'closed' : 'opened')
    if (!ended) return this.#deps.announce('visit.opened', data, { project })
    const { at: endedAt, ...more } = ended
    this.#deps.announce(
      'visit.closed',
      { ...data, endedAt: new Date(endedAt).toISOString(), ...more },
      { project },
    )
  }
}
