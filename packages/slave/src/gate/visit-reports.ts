// Tells the master of visits that began and ended, and again until one has written it down: a link that breaks loses nothing.
// As many wait as there is room for; of those that do not fit the oldest are dropped and counted.
import { errorText, MAX_REPORTS, type Log, type VisitReport } from '@sshoal/shared'

import type { SlaveMetrics } from '../metrics.ts'
import type { SlaveParts } from '../slave-parts.ts'

const MAX_WAITING = 10_000
/** A master writes several times a second; while its store is away it does not answer. */
const DEADLINE_MS = 10_000
const AGAIN_MS = 2_000

export interface VisitReportsParts {
  link: SlaveParts['link']
  metrics: Pick<SlaveMetrics, 'visitReportsDropped'>
  log: Log
}

export class VisitReports {
  readonly #parts: VisitReportsParts
  /** By visit: the report of an end says all that the one of its begin said. */
  readonly #waiting = new Map<string, VisitReport>()
  /** Those of them that a master was told and has not confirmed yet. */
  readonly #told = new Set<VisitReport>()
  #again: NodeJS.Timeout | undefined

  constructor(parts: VisitReportsParts) {
    this.#parts = parts
  }

  /** Not confirmed yet. */
  get waiting(): number {
    return this.#waiting.size
  }

  send(report: VisitReport): void {
    this.#waiting.delete(report.id)
    this.#waiting.set(report.id, report)
    if (this.#waiting.size > MAX_WAITING) {
      const [oldest] = this.#waiting.keys()
      if (oldest !== undefined) this.#waiting.delete(oldest)
      this.#parts.metrics.visitReportsDropped.inc()
    }
    // Not as part of a flush: an end must not take the place of a begin that nobody was told.
    if (this.#parts.link.linked) void this.#tell([report])
  }

  /** All that no master is being told. Also called when one is there again. */
  flush(): void {
    if (!this.#parts.link.linked) return
    const reports = [...this.#waiting.values()].filter((report) => !this.#told.has(report))
    for (let at = 0; at < reports.length; at += MAX_REPORTS)
      void this.#tell(reports.slice(at, at + MAX_REPORTS))
  }

  /** What a master was told before, as long as one listens; whoever comes next is told again. */
  async remind(reports: readonly VisitReport[]): Promise<void> {
    const { link, log } = this.#parts
    try {
      for (let at = 0; at < reports.length && link.linked; at += MAX_REPORTS)
        await link.request('visited', { reports: reports.slice(at, at + MAX_REPORTS) }, DEADLINE_MS)
    } catch (error) {
      log.debug({ reason: errorText(error) }, 'a master could not be told which visits stand')
    }
  }

  close(): void {
    clearTimeout(this.#again)
  }

  async #tell(reports: VisitReport[]): Promise<void> {
    for (const report of reports) this.#told.add(report)
    try {
      await this.#parts.link.request('visited', { reports }, DEADLINE_MS)
      for (const report of reports)
        if (this.#waiting.get(report.id) === report) this.#waiting.delete(report.id)
    } catch (error) {
      this.#parts.log.debug({ reason: errorText(error), reports: reports.length }, 'visits are told again')
      clearTimeout(this.#again)
      this.#again = setTimeout(() => this.flush(), AGAIN_MS)
      this.#again.unref()
    } finally {
      for (const report of reports) this.#told.delete(report)
    }
  }
}
