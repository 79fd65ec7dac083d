// Writes lines of the audit that need not be written in one step with a change, several times a second, so that ten thousand
// visits cost a few commits. A line that comes twice is written once, and a visit's end is never undone by its begin.
import { errorText, type Log } from '@sshoal/shared'

import { Flushing } from '../flushing.ts'
import type { Change, Store, StoredRecord } from '../store/store.ts'
import { AUDIT, claimsOfAudit, type AuditRecord } from './audit-record.ts'

export interface AuditWriterDeps {
  store: Pick<Store, 'get' | 'transact'>
  log: Log
  /** So many new lines of the audit of a project were written. */
  wrote(project: string, lines: number): void
  /** One was lost: the store was away for too long. */
  lost(): void
}

const FLUSH_EVERY_MS = 250
const AT_ONCE = 200
/** While the store is away; beyond, the oldest are lost, and counted. */
const MAX_WAITING = 100_000
/** Of a batch into which others write, too: another slave tells of the same visit. */
const ATTEMPTS = 5

interface Waiting {
  record: AuditRecord
  /** It is written, or lost. */
  done: Promise<void>
  settle(): void
}

export class AuditWriter {
  readonly #deps: AuditWriterDeps
  readonly #flushing = new Flushing(FLUSH_EVERY_MS, () => this.#write())
  #waiting = new Map<string, Waiting>()

  constructor(deps: AuditWriterDeps) {
    this.#deps = deps
  }

  /** Resolves when it is written, or lost; while the store is away it waits. */
  add(record: AuditRecord): Promise<void> {
    const key = `${record.project} ${record.id}`
    const before = this.#waiting.get(key)
    if (before) {
      if (isNews(record, before.record)) before.record = record
      return before.done
    }
    const one = waitingFor(record)
    this.#waiting.set(key, one)
    if (this.#waiting.size > MAX_WAITING) this.#loseOldest()
    return one.done
  }

  /** Resolves when everything that was added before is written, or when the store refused it; then it is tried again later. */
  flush(): Promise<void> {
    return this.#flushing.flush()
  }

  close(): Promise<void> {
    return this.#flushing.close()
  }

  async #write(): Promise<void> {
    if (this.#waiting.size === 0) return
    const batch = this.#waiting
    this.#waiting = new Map()
    const lines = [...batch]
    try {
      for (let at = 0; at < lines.length; at += AT_ONCE) {
        const part = lines.slice(at, at + AT_ONCE)
        await this.#writePart(part.map(([, { record }]) => record))
        for (const [key, { settle }] of part) {
          batch.delete(key)
          settle()
        }
      }
    } catch (error) {
      this.#deps.log.error({ err: errorText(error), lines: batch.size }, 'the audit could not be written')
      const meanwhile = this.#waiting
      this.#waiting = batch
      for (const { record, settle } of meanwhile.values()) void this.add(record).then(settle)
    }
  }

  async #writePart(records: readonly AuditRecord[]): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = await Promise.all(records.map((record) => this.#stored(record)))
      const fresh = records.filter((_, n) => found[n] === undefined)
      const changes = records.flatMap((record, n) => changeOf(record, found[n]))
      if (changes.length === 0 || (await this.#deps.store.transact(changes)).done) {
        for (const { project } of fresh) this.#deps.wrote(project, 1)
        return
      }
    }
    throw new Error('others write the same lines all the time')
  }

  /** A change has an id of its own, and stands nowhere yet. */
  async #stored({ project, id, visit }: AuditRecord): Promise<StoredRecord<AuditRecord> | undefined> {
    return visit && this.#deps.store.get<AuditRecord>({ kind: AUDIT, project, id })
  }

  #loseOldest(): void {
    const [oldest] = this.#waiting
    if (!oldest) return
    const [key, { settle }] = oldest
    this.#waiting.delete(key)
    settle()
    this.#deps.lost()
  }
}

function waitingFor(record: AuditRecord): Waiting {
  let settle = (): void => {}
  const done = new Promise<void>((resolve) => (settle = resolve))
  return { record, done, settle }
}

/**
 * The end of a visit that stands there, told by the slave that told of its begin: nobody else may write over it. Of a visit
 * that ended because its slave was lost (lost-visits.ts), whatever that slave says when it is back after all.
 */
function isNews({ visit }: AuditRecord, { visit: before }: AuditRecord): boolean {
  if (!visit || !before || visit.slave !== before.slave) return false
  if (!before.ended) return visit.ended !== undefined
  return before.ended.bytesToTarget === undefined
}

function changeOf(record: AuditRecord, found: StoredRecord<AuditRecord> | undefined): Change[] {
  const { project, id } = record
  if (found && !isNews(record, found.value)) return []
  return [
    {
      type: 'put',
      ref: { kind: AUDIT, project, id },
      value: record,
      claims: claimsOfAudit(record),
      expect: found?.version ?? 'absent',
    },
  ]
}
