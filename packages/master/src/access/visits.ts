// What slaves report of visits: told as events, written down in the audit. Written once a second, so that ten thousand visits
// cost one commit; what a crash loses is at most that second. A visit has one record, at its begin and again at its end.
import { errorText, type Log, type VisitReport } from '@sshoal/shared'

import type { Change, Store } from '../store/store.ts'
import { AUDIT, visitAudit, type AuditRecord } from './audit-record.ts'

export interface VisitsDeps {
  store: Pick<Store, 'transact'>
  announce(type: string, data: object, scope?: { project?: string }): void
  log: Log
  count(what: 'opened' | 'closed' | 'lost'): void
  /** So many lines of the audit of a project were written. */
  wrote(project: string, lines: number): void
}

const FLUSH_EVERY_MS = 1_000
const AT_ONCE = 200
/** While the store is away; beyond, the oldest are lost, and counted. */
const MAX_WAITING = 100_000

export class Visits {
  readonly #deps: VisitsDeps
  readonly #timer: NodeJS.Timeout
  #waiting = new Map<string, AuditRecord>()
  #flushing: Promise<void> = Promise.resolve()

  constructor(deps: VisitsDeps) {
    this.#deps = deps
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY_MS)
    this.#timer.unref()
  }

  report(report: VisitReport, slave: string): void {
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
    if (ended) {
      const { at, ...more } = ended
      this.#deps.announce(
        'visit.closed',
        { ...data, endedAt: new Date(at).toISOString(), ...more },
        { project },
      )
    } else this.#deps.announce('visit.opened', data, { project })
    const record = visitAudit(report, slave)
    this.#waiting.set(`${project} ${record.id}`, record)
    if (this.#waiting.size <= MAX_WAITING) return
    const [oldest] = this.#waiting.keys()
    if (oldest !== undefined) this.#waiting.delete(oldest)
    this.#deps.count('lost')
  }

  /** Resolves when everything reported before is written, or when the store refused it; then it is tried again later. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#write())
    return this.#flushing
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.flush()
  }

  async #write(): Promise<void> {
    if (this.#waiting.size === 0) return
    const batch = this.#waiting
    this.#waiting = new Map()
    const records = [...batch.values()]
    try {
      for (let at = 0; at < records.length; at += AT_ONCE) {
        const part = records.slice(at, at + AT_ONCE)
        await this.#deps.store.transact(part.map(put))
        for (const { project, visit } of part) if (!visit?.ended) this.#deps.wrote(project, 1)
        for (const { project, id } of part) batch.delete(`${project} ${id}`)
      }
    } catch (error) {
      this.#deps.log.error({ err: errorText(error), visits: batch.size }, 'visits could not be written down')
      // What came meanwhile is newer.
      this.#waiting = new Map([...batch, ...this.#waiting])
    }
  }
}

function put(record: AuditRecord): Change {
  const { project, id } = record
  return { type: 'put', ref: { kind: AUDIT, project, id }, value: record }
}
