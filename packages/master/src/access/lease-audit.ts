// Leases in the audit. They tell of themselves as events, wherever they are made, given more time and ended; what they tell is
// written down: what is said of one that is gone was before, of any other is after.
import type { Store } from '../store/store.ts'
import { ALL_PROJECTS } from '../tokens/token.ts'
import { auditRecord } from './audit-record.ts'
import type { AuditWriter } from './audit-writer.ts'

/** As events tell of a lease: no secrets. */
interface Told {
  device?: string
  fingerprint?: string
  /** The id of a token, or words. */
  by?: string
}

const ENDED = new Set(['lease.revoked', 'lease.expired'])

export class LeaseAudit {
  readonly #writer: Pick<AuditWriter, 'add'>
  readonly #store: Pick<Store, 'get'>
  readonly #now: () => number

  constructor(writer: Pick<AuditWriter, 'add'>, store: Pick<Store, 'get'>, now: () => number) {
    this.#writer = writer
    this.#store = store
    this.#now = now
  }

  /** Resolves when it is written down, or given up. */
  async note(type: string, project: string, told: object): Promise<void> {
    const { device, fingerprint, by, ...lease } = told as Told
    const at = this.#now()
    const label = by === undefined ? undefined : await this.#labelOf(by)
    return this.#writer.add(
      auditRecord(
        {
          project,
          type,
          ...(by === undefined ? {} : { by: { token: by, label: label ?? by } }),
          ...(device === undefined ? {} : { device }),
          ...(fingerprint === undefined ? {} : { fingerprint }),
          [ENDED.has(type) ? 'before' : 'after']: lease,
        },
        at,
      ),
    )
  }

  async #labelOf(token: string): Promise<string | undefined> {
    const found = await this.#store
      .get<{ label: string }>({ kind: 'token', project: ALL_PROJECTS, id: token })
      .catch(() => undefined)
    return found?.value.label
  }
}
