// Tells the master of visits that began and ended. While there is none the reports wait, as many as there is room for; of
// those that do not fit the oldest are dropped and counted.
import type { VisitReport } from '@sshoal/shared'

import type { SlaveMetrics } from '../metrics.ts'
import type { SlaveParts } from '../slave-parts.ts'

const MAX_WAITING = 10_000

export class VisitReports {
  readonly #link: SlaveParts['link']
  readonly #metrics: Pick<SlaveMetrics, 'visitReportsDropped'>
  /** By visit and state: the report of an end is enough for both where the begin was not told either. */
  readonly #waiting = new Map<string, VisitReport>()

  constructor(parts: { link: SlaveParts['link']; metrics: Pick<SlaveMetrics, 'visitReportsDropped'> }) {
    this.#link = parts.link
    this.#metrics = parts.metrics
  }

  get waiting(): number {
    return this.#waiting.size
  }

  send(report: VisitReport): void {
    if (this.#link.linked) return this.#link.send('visit', report)
    // An end says all that its begin said.
    this.#waiting.delete(report.id)
    this.#waiting.set(report.id, report)
    if (this.#waiting.size <= MAX_WAITING) return
    const [oldest] = this.#waiting.keys()
    if (oldest === undefined) return
    this.#waiting.delete(oldest)
    this.#metrics.visitReportsDropped.inc()
  }

  /** A master is there again. */
  flush(): void {
    for (const report of this.#waiting.values()) this.#link.send('visit', report)
    this.#waiting.clear()
  }
}
