// Which slave and which port a lease gets: the least busy slave of its region, and there the port that the slave names.
// A slave that cannot is passed over; only when all are, it is said what was missing.
import { SshoalError, type LeaseAnswer } from '@sshoal/shared'

import { leasePortTaken } from './lease-errors.ts'
import type { LeaseSlave, LeaseSlaves } from './lease-slaves.ts'
import type { Lease } from './lease.ts'

export interface PlacementWish {
  region: string | undefined
  /** Exactly this one. */
  port: number | undefined
  /** The lease that this one replaces. */
  old: Lease | undefined
}

type Draft = Omit<Lease, 'slave' | 'port'>

export class LeasePlacement {
  readonly #slaves: LeaseSlaves
  readonly #leasesOf: (slave: string) => number
  /** Being placed right now; they are not in the index yet. */
  readonly #placing = new Map<string, number>()

  constructor(slaves: LeaseSlaves, leasesOf: (slave: string) => number) {
    this.#slaves = slaves
    this.#leasesOf = leasesOf
  }

  /** Throws NO_SLAVE, NO_PORT, PORT_TAKEN, INVALID_PORT. */
  async place(draft: Draft, { region, port, old }: PlacementWish): Promise<{ slave: string; port: number }> {
    const candidates = this.#slaves
      .candidates(region)
      .map((slave) => ({ slave, share: this.#share(slave) }))
      .sort((a, b) => a.share - b.share || (a.slave.id < b.slave.id ? -1 : 1))
      .map(({ slave }) => slave)
    const codes = new Set<string>()
    for (const slave of candidates) {
      const answer = await this.#ask(slave.id, draft, port, old)
      if (answer.outcome === 'granted') return { slave: slave.id, port: answer.port }
      codes.add(answer.code)
    }
    throw missing(codes, port)
  }

  #share({ id, tunnels, capacity }: LeaseSlave): number {
    return (tunnels + this.#leasesOf(id) + (this.#placing.get(id) ?? 0)) / capacity
  }

  async #ask(
    slave: string,
    draft: Draft,
    port: number | undefined,
    old: Lease | undefined,
  ): Promise<LeaseAnswer> {
    const { id: lease, project, device, fingerprint, expiresAt, issuedAt } = draft
    this.#placing.set(slave, (this.#placing.get(slave) ?? 0) + 1)
    try {
      return await this.#slaves.grant(slave, {
        lease,
        project,
        device,
        fingerprint,
        remainingMs: Math.round(expiresAt - issuedAt),
        ...(port === undefined ? {} : { port }),
        ...(old?.slave === slave ? { replaces: old.id } : {}),
      })
    } catch {
      // It may have heard the question and not been heard itself.
      void this.#slaves
        .end(slave, lease, { code: 'LEASE_FAILED', reason: 'this lease could not be made' })
        .catch(() => {})
      return { outcome: 'refused', code: 'LINK_LOST', reason: '' }
    } finally {
      const left = (this.#placing.get(slave) ?? 1) - 1
      if (left > 0) this.#placing.set(slave, left)
      else this.#placing.delete(slave)
    }
  }
}

function missing(codes: ReadonlySet<string>, port: number | undefined): SshoalError {
  if (codes.has('PORT_TAKEN')) return leasePortTaken(port)
  if (codes.has('PORT_OUT_OF_RANGE'))
    return new SshoalError('INVALID_PORT', `port ${port} is outside the forward ports of the slaves`, {
      details: { port },
    })
  if (codes.has('NO_PORT'))
    return new SshoalError('NO_PORT', 'no slave has a free port for a lease at the moment')
  return new SshoalError('NO_SLAVE', 'no slave can take a lease at the moment')
}
