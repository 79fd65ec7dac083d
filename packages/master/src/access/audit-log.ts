// Reads the audit: newest first, a page at a time. What is written there is written with the change (ledger.ts), or by the
// reports of slaves (visits.ts).
import { formatCursor, parseCursor, type Store } from '../store/store.ts'
import { AUDIT, auditPlace, type AuditRecord } from './audit-record.ts'
import type { Page } from './directory.ts'

export interface AuditFilter {
  /** A login, an id or an e-mail as it was written down; `userId` where there is such a user now. */
  user?: string | undefined
  userId?: string | undefined
  target?: string | undefined
  /** `visit`, `grant.created`, or all of a kind: `grant`. */
  type?: string | undefined
  /** ms since 1970. */
  since?: number | undefined
  until?: number | undefined
  cursor?: string | undefined
  limit: number
}

/** A page looks at so many at most, and may be short; its `next` goes on. */
const LOOKED_AT = 20_000
const SCAN_PAGE = 500

export class AuditLog {
  readonly #store: Pick<Store, 'scan'>

  constructor(store: Pick<Store, 'scan'>) {
    this.#store = store
  }

  /** Throws INVALID_CURSOR. */
  async list(project: string, filter: AuditFilter): Promise<Page<AuditRecord>> {
    const records: AuditRecord[] = []
    let after = startOf(project, filter)
    for (let looked = 0; looked < LOOKED_AT; looked += SCAN_PAGE) {
      const page = await this.#store.scan<AuditRecord>({
        kind: AUDIT,
        project,
        limit: SCAN_PAGE,
        ...(after === undefined ? {} : { after }),
      })
      for (const record of page.records) {
        const { value } = record
        if (filter.since !== undefined && value.at < filter.since) return { records, next: null }
        if (!fits(value, filter)) continue
        records.push(value)
        if (records.length < filter.limit) continue
        const isLast = page.next === null && record === page.records.at(-1)
        return { records, next: isLast ? null : formatCursor(record) }
      }
      if (page.next === null) return { records, next: null }
      after = page.next
      await new Promise((resolve) => setImmediate(resolve))
    }
    return { records, next: after ?? null }
  }
}

/** A cursor of another project would show what is not theirs. */
function startOf(project: string, { cursor, until }: AuditFilter): string | undefined {
  if (cursor !== undefined) return formatCursor({ project, id: parseCursor(cursor).id })
  // Of the same millisecond all, which begin with it and a dot: they stand behind.
  return until === undefined ? undefined : formatCursor({ project, id: auditPlace(until) })
}

function fits(record: AuditRecord, { user, userId, target, type }: AuditFilter): boolean {
  if (type !== undefined && record.type !== type && !record.type.startsWith(`${type}.`)) return false
  if (target !== undefined && record.target !== target.toLowerCase()) return false
  if (user === undefined) return true
  return record.userId === (userId ?? user) || (userId === undefined && record.user === user.toLowerCase())
}
