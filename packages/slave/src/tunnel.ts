// One tunnel on this slave: the forwards of one holder's connection. It begins with the first accepted forward.
// Knows its connection only as something that can be ended with a text.
import { holderKey, type Details, type Forward, type Holder, type Tunnel } from '@sshoal/shared'

import type { LiveForward } from './forward.ts'
import type { SshConnection } from './ssh2/index.ts'
import type { Visits } from './visits.ts'

/** How long a connection that is being replaced may take to give a sign of life (design: take-over). */
const PROBE_MS = 3_000
const PROBE_STEP_MS = 50

export interface TunnelFacts {
  holder: Holder
  epoch: number
  fingerprint: string
  remoteAddress: string
  details: Details | undefined
  connection: SshConnection
  visits: Visits
}

export class LiveTunnel {
  readonly key: string
  readonly facts: TunnelFacts
  readonly connectedAt = Date.now()
  readonly #forwards: LiveForward[] = []
  /** Why it ended, as the master and its next owner read it; undefined while it is up. */
  ended: string | undefined

  constructor(facts: TunnelFacts) {
    this.facts = facts
    this.key = holderKey(facts.holder)
  }

  get epoch(): number {
    return this.facts.epoch
  }

  get visits(): Visits {
    return this.facts.visits
  }

  get forwards(): readonly LiveForward[] {
    return this.#forwards
  }

  add(forward: LiveForward): void {
    this.#forwards.push(forward)
  }

  remove(forward: LiveForward): void {
    const index = this.#forwards.indexOf(forward)
    if (index >= 0) this.#forwards.splice(index, 1)
    forward.close()
  }

  closeForwards(): void {
    for (const forward of this.#forwards.splice(0)) forward.close()
  }

  shownForwards(): Forward[] {
    return this.#forwards.map((forward) => forward.shown)
  }

  /** As the wire carries it. */
  shown(): Tunnel {
    const { holder, epoch, fingerprint, remoteAddress, details } = this.facts
    return {
      ...holder,
      epoch,
      fingerprint,
      remoteAddress,
      connectedAt: this.connectedAt,
      forwards: this.shownForwards(),
      ...(details ? { details } : {}),
    }
  }

  /** Does the other end still answer a keepalive within 3 s? */
  async probe(): Promise<boolean> {
    const { connection } = this.facts
    const askedAt = performance.now()
    connection.ping()
    while (performance.now() - askedAt < PROBE_MS) {
      await new Promise((resolve) => setTimeout(resolve, PROBE_STEP_MS))
      if (connection.lastHeardAt > askedAt) return true
      if (connection.socket.destroyed) return false
    }
    return false
  }
}
