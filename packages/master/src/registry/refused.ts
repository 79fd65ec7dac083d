// The keys that were refused lately, so that an operator sees who knocks and lets a key in without typing it.
// In memory only: a list of strangers is no durable fact. Folded per key and reason; the oldest goes first.
import { fingerprintOf, formatPublicKeyLine, parsePublicKeyBlob } from '@sshoal/shared'

export interface Refusal {
  code: string
  reason: string
  remoteAddress: string
  username?: string | undefined
  /** The wire form in base64; a refusal without a key is not kept here. */
  publicKey?: string | undefined
  project?: string | undefined
  device?: string | undefined
}

export interface RefusedKey extends Refusal {
  fingerprint: string
  /** The OpenSSH line; null: not a key that could be let in. */
  key: string | null
  count: number
  /** ms since 1970. */
  firstAt: number
  lastAt: number
}

const KEPT = 1_000

export class RefusedKeys {
  /** By key and code; the order of insertion is the order of last sight. */
  readonly #entries = new Map<string, RefusedKey>()
  readonly #now: () => number

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  note(refusal: Refusal): void {
    if (!refusal.publicKey) return
    const fingerprint = fingerprintOf(Buffer.from(refusal.publicKey, 'base64'))
    const name = `${fingerprint} ${refusal.code}`
    const now = this.#now()
    const known = this.#entries.get(name)
    this.#entries.delete(name)
    this.#entries.set(name, {
      ...refusal,
      fingerprint,
      key: known ? known.key : lineOf(refusal.publicKey),
      count: (known?.count ?? 0) + 1,
      firstAt: known?.firstAt ?? now,
      lastAt: now,
    })
    if (this.#entries.size <= KEPT) return
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
  }

  /** Newest first. A project sees its own and those that are nobody's. */
  list(project?: string): RefusedKey[] {
    return [...this.#entries.values()]
      .toReversed()
      .filter((entry) => project === undefined || entry.project === undefined || entry.project === project)
  }

  /** The OpenSSH line of a key that was refused; undefined: not in the list, or nothing that could be let in. */
  keyOf(fingerprint: string, project?: string): string | undefined {
    return this.list(project).find((entry) => entry.fingerprint === fingerprint)?.key ?? undefined
  }
}

function lineOf(base64: string): string | null {
  try {
    return formatPublicKeyLine(parsePublicKeyBlob(base64))
  } catch {
    return null // too weak or malformed: it is shown, it cannot be added
  }
}
