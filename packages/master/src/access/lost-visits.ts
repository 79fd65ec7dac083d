// Visits whose end nobody tells, because their slave was lost, or began anew as another process. Their end is written down
// without bytes, once, by the first of the masters that sees it. A slave that was only cut off says what is true when it is
// back, and that stands then (audit-writer.ts).
import { errorText, type Log } from '@sshoal/shared'

import type { RecordRef, Store } from '../store/store.ts'
import { AUDIT, claimsOfAudit, short, STANDING, standingAt, type AuditRecord } from './audit-record.ts'
import type { GateSlaves } from './carriers.ts'

export interface LostVisitsDeps {
  store: Pick<Store, 'claims' | 'get' | 'transact'>
  slaves: Pick<GateSlaves, 'all'>
  log: Log
  /** ms since 1970. */
  now(): number
  /** With its end; at the one master that wrote it. */
  announce(record: AuditRecord): void
}

const SWEEP_EVERY_MS = 60_000
const AT_ONCE = 50
const REASON = 'its slave was lost'

export class LostVisits {
  readonly #deps: LostVisitsDeps
  readonly #timer: NodeJS.Timeout
  /** Slaves that left or came since it was looked. */
  readonly #changed = new Set<string>()
  /** Claims of visits whose slave was missing when everything was looked at last: a master that just began knows few slaves. */
  #missing = new Set<string>()
  #looking: Promise<void> = Promise.resolve()
  #waiting = false

  constructor(deps: LostVisitsDeps) {
    this.#deps = deps
    this.#timer = setInterval(() => void this.sweep(), SWEEP_EVERY_MS)
    this.#timer.unref()
  }

  /** A slave left the view, or came into it, maybe as another process. Never rejects: what fails, a sweep finds. */
  slaveChanged(slave: string): Promise<void> {
    this.#changed.add(short(slave))
    if (!this.#waiting) {
      this.#waiting = true
      this.#looking = this.#looking.then(() => {
        this.#waiting = false
        return this.#look(false)
      })
    }
    return this.#looking
  }

  /** Of slaves that are missing for the second time; once a minute by itself. Never rejects. */
  sweep(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look(true))
    return this.#looking
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#looking
  }

  async #look(all: boolean): Promise<void> {
    const changed = new Set(this.#changed)
    this.#changed.clear()
    try {
      const { store, slaves } = this.#deps
      const claims = await store.claims(AUDIT, STANDING)
      const there = new Set(Array.from(slaves.all(), ({ hello }) => short(hello.instance)))
      const missing = claims.filter(({ value }) => !there.has(standingAt(value).process))
      const due = missing.filter(
        ({ value }) => changed.has(standingAt(value).slave) || (all && this.#missing.has(value)),
      )
      if (all) this.#missing = new Set(missing.map(({ value }) => value))
      for (let at = 0; at < due.length; at += AT_ONCE)
        await Promise.all(due.slice(at, at + AT_ONCE).map(({ ref }) => this.#end(ref)))
    } catch (error) {
      this.#deps.log.warn(
        { err: errorText(error) },
        'visits of lost slaves could not be ended; it is tried again',
      )
    }
  }

  async #end(ref: RecordRef): Promise<void> {
    const { store, log, now, announce } = this.#deps
    const found = await store.get<AuditRecord>(ref)
    if (!found?.value.visit || found.value.visit.ended) return
    const { process: _process, ...visit } = found.value.visit
    const record: AuditRecord = { ...found.value, visit: { ...visit, ended: { at: now(), reason: REASON } } }
    const outcome = await store.transact([
      { type: 'put', ref, value: record, claims: claimsOfAudit(record), expect: found.version },
    ])
    // Another master was faster, or the slave itself.
    if (!outcome.done) return
    log.info({ visit: visit.id, slave: visit.slave }, 'a visit ended with its slave')
    announce(record)
  }
}
