// Keeps the audit within its limits: nothing older than the retention, and of each project no more than so many lines. What is
// written is counted; who is over is read through once, from the newest to the line behind which all may go.
import { errorText, type Log } from '@sshoal/shared'

import { formatCursor, type Store } from '../store/store.ts'
import { AUDIT, auditPlace } from './audit-record.ts'
import { projectsWith } from './projects.ts'

export interface AuditSweepDeps {
  store: Pick<Store, 'scan' | 'transact'>
  log: Log
  /** `--audit-retention`, ms. */
  retentionMs: number
  /** `--audit-keep`: lines of each project. */
  keep: number
  now(): number
  /** So many lines were dropped. */
  count(lines: number): void
}

const SWEEP_EVERY_MS = 60_000
/** Other masters write too: what they wrote is counted anew so often. */
const COUNT_EVERY_MS = 6 * 3_600_000
const PAGE = 500

export class AuditSweep {
  readonly #deps: AuditSweepDeps
  readonly #timer: NodeJS.Timeout
  /** At most so many lines there are, as far as is known here, and when they were counted. */
  readonly #counts = new Map<string, { lines: number; at: number }>()
  #sweeping: Promise<void> | undefined
  #closed = false

  constructor(deps: AuditSweepDeps) {
    this.#deps = deps
    this.#timer = setInterval(() => void this.sweep(), SWEEP_EVERY_MS)
    this.#timer.unref()
  }

  wrote(project: string, lines: number): void {
    const count = this.#counts.get(project)
    if (count) count.lines += lines
  }

  /** Never rejects: what could not be dropped now is dropped the next time. By itself once a minute. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep()
      .catch((error: unknown) =>
        this.#deps.log.warn({ err: errorText(error) }, 'the audit could not be swept; it is tried again'),
      )
      .finally(() => {
        this.#sweeping = undefined
      })
    return this.#sweeping
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#sweeping
  }

  async #sweep(): Promise<void> {
    const { store, retentionMs, keep, now } = this.#deps
    for (const project of await projectsWith(store, AUDIT)) {
      await this.#dropBehind(project, auditPlace(now() - retentionMs))
      const count = this.#counts.get(project)
      if (count && count.lines <= keep && now() - count.at < COUNT_EVERY_MS) continue
      const { lines, last } = await this.#count(project)
      if (last !== undefined) await this.#dropBehind(project, last)
      this.#counts.set(project, { lines, at: now() })
    }
  }

  /** How many there are, at most `keep`, and the id of the last one that stays where there are more. */
  async #count(project: string): Promise<{ lines: number; last: string | undefined }> {
    const { store, keep } = this.#deps
    let lines = 0
    let after: string | undefined
    while (!this.#closed) {
      const limit = Math.min(PAGE, keep - lines)
      const cursor = after === undefined ? {} : { after }
      const page = await store.scan({ kind: AUDIT, project, limit, ...cursor })
      lines += page.records.length
      if (page.next === null) break
      if (lines >= keep) return { lines, last: page.records.at(-1)?.id }
      after = page.next
      await new Promise((resolve) => setImmediate(resolve))
    }
    return { lines, last: undefined }
  }

  async #dropBehind(project: string, id: string): Promise<void> {
    const { store, count } = this.#deps
    const after = formatCursor({ project, id })
    while (!this.#closed) {
      const page = await store.scan({ kind: AUDIT, project, limit: PAGE, after })
      if (page.records.length === 0) return
      await store.transact(
        page.records.map(({ kind, project, id }) => ({ type: 'remove', ref: { kind, project, id } })),
      )
      count(page.records.length)
      const known = this.#counts.get(project)
      if (known) known.lines = Math.max(0, known.lines - page.records.length)
      if (page.next === null) return
    }
  }
}
