// What is done to leases that stand: their time told to their slave, and their end. Whoever ends one takes it out of the
// store first, so that no login is answered any more; then its slave refuses the key, cuts the tunnel and frees the port.
import { errorText, type Log } from '@sshoal/shared'

import type { Events } from '../events/events.ts'
import type { Store } from '../store/store.ts'
import type { LeaseBook } from './lease-book.ts'
import { leaseBusy } from './lease-errors.ts'
import type { LeaseSlaves } from './lease-slaves.ts'
import { ENDS, factsOf, grantOf, refOf, type Lease, type LeaseEnd } from './lease.ts'

export interface LeaseHandsDeps {
  store: Store
  slaves: LeaseSlaves
  /** Told to every master. */
  announce: Events['publish']
  log: Log
  now(): number
  count(what: LeaseEnd): void
}

const ATTEMPTS = 40
/** When the store does not answer at an end, it is tried again. */
const RETRY_MS = 1_000

export class LeaseHands {
  readonly #deps: LeaseHandsDeps
  readonly #book: LeaseBook
  #ending = 0

  constructor(deps: LeaseHandsDeps, book: LeaseBook) {
    this.#deps = deps
    this.#book = book
  }

  /** Leases that are due and not ended yet. */
  get backlog(): number {
    return this.#ending
  }

  /** Ends what is due. */
  sweep(): void {
    for (const lease of this.#book.due()) {
      this.#ending++
      void this.end(lease, 'expired')
        .catch((error: unknown) => {
          this.#deps.log.warn({ lease: lease.id, reason: errorText(error) }, 'a lease cannot be ended yet')
          setTimeout(() => this.#book.dueAgain(lease), RETRY_MS).unref()
        })
        .finally(() => this.#ending--)
    }
  }

  /** Undefined: somebody else ended it, or gave it another time. */
  async end(lease: Lease, how: LeaseEnd, more: object = {}): Promise<{ cut: boolean } | undefined> {
    const { store } = this.#deps
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = await store.get<Lease>(refOf(lease))
      if (!found) {
        this.#book.forget(lease.id)
        return undefined
      }
      if (how === 'expired' && found.value.expiresAt > this.#deps.now()) {
        this.#book.keep(found.value)
        return undefined
      }
      const outcome = await store.transact([{ type: 'remove', ref: refOf(lease), expect: found.version }])
      if (!outcome.done) continue
      return this.ended(lease, how, more)
    }
    throw leaseBusy()
  }

  /** It is out of the store. */
  async ended(lease: Lease, how: LeaseEnd, more: object = {}): Promise<{ cut: boolean }> {
    this.#book.forget(lease.id)
    const cut = await this.endOn(lease, how)
    this.#deps.count(how)
    this.announce(how === 'expired' ? 'lease.expired' : 'lease.revoked', lease, { cut, ...more })
    return { cut }
  }

  /** A slave that cannot be reached hears of it with its next welcome, and ends it by itself in time. */
  async endOn(lease: Lease, how: LeaseEnd): Promise<boolean> {
    try {
      return await this.#deps.slaves.end(lease.slave, lease.id, ENDS[how])
    } catch (error) {
      this.#deps.log.info(
        { lease: lease.id, slave: lease.slave, reason: errorText(error) },
        'a slave did not confirm the end of a lease',
      )
      return false
    }
  }

  /** Its slave hears how long it still lasts, and that it is there. */
  async tellSlave(lease: Lease): Promise<'granted' | 'refused' | 'unreachable'> {
    try {
      return (await this.#deps.slaves.grant(lease.slave, grantOf(lease, this.#deps.now()))).outcome
    } catch (error) {
      this.#deps.log.info(
        { lease: lease.id, slave: lease.slave, reason: errorText(error) },
        'a slave did not confirm the time of a lease',
      )
      return 'unreachable'
    }
  }

  announce(type: string, lease: Lease, more: object): void {
    this.#deps.announce(type, { ...factsOf(lease), ...more }, { project: lease.project })
    this.#deps.log.info({ lease: lease.id, device: lease.device, slave: lease.slave, port: lease.port }, type)
  }
}
