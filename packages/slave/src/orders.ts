// What a master tells a slave: the welcome and what follows from it, who is to go, what is to be forgotten and asked anew.
import {
  holderKey,
  type FixedPort,
  type MasterNoticeHandlers,
  type MasterRequestHandlers,
} from '@sshoal/shared'

import type { EpochClock } from './epoch.ts'
import type { RunningGate } from './gate/start-gate.ts'
import type { SlaveParts } from './slave-parts.ts'

export interface OrdersDeps extends Pick<
  SlaveParts,
  'tunnels' | 'identities' | 'leases' | 'ports' | 'connections'
> {
  epochs: EpochClock
  gate: Pick<RunningGate, 'welcomed' | 'recheck'>
  /** Moves the devices away over this time; once the slave stops, nothing more. */
  drain(overMs: number): void
}

export class Orders {
  readonly #deps: OrdersDeps
  #invalidation: { store: string; number: number } | undefined

  constructor(deps: OrdersDeps) {
    this.#deps = deps
  }

  /** The last invalidation that was carried out, and of which store. */
  get invalidation(): { store: string; number: number } | undefined {
    return this.#invalidation
  }

  readonly onWelcome: MasterNoticeHandlers['welcome'] = (welcome) => {
    const { epochs, gate, leases, tunnels, identities } = this.#deps
    epochs.set(welcome.nowMicros)
    gate.welcomed()
    this.#setFixedPorts(welcome.fixedPorts)
    if (welcome.leases) leases.replaceAll(welcome.leases)
    for (const { reason, epoch, ...holder } of welcome.lost) {
      const tunnel = tunnels.of(holder)
      if (tunnel && tunnel.epoch <= epoch) tunnels.cut(tunnel, reason, 'taken-over')
    }
    const before = this.#invalidation
    this.#invalidation = welcome.invalidation
    if (!before) return
    // Another store is no removal: logins are asked about anew, and nobody who is here is cut because it knows nobody.
    if (before.store !== welcome.invalidation.store) identities.invalidate(null)
    else if (before.number !== welcome.invalidation.number) void this.#recheck(null)
  }

  readonly onNotice: Omit<MasterNoticeHandlers, 'challenge' | 'welcome'> = {
    fixedPorts: ({ fixedPorts }) => this.#setFixedPorts(fixedPorts),
  }

  readonly onRequest: MasterRequestHandlers = {
    cut: ({ epoch, reason, ...holder }) => {
      const { tunnels } = this.#deps
      const tunnel = tunnels.of(holder)
      if (!tunnel || (epoch !== undefined && tunnel.epoch > epoch)) return Promise.resolve({ cut: false })
      tunnels.cut(tunnel, reason, 'cut')
      return Promise.resolve({ cut: true })
    },
    yield: async ({ epoch, reason, ...holder }) => {
      const { tunnels } = this.#deps
      const tunnel = tunnels.of(holder)
      // Of two with one epoch the master has chosen the other (design: "Epoch", ties).
      if (!tunnel || tunnel.epoch > epoch) return { cut: false, contested: false }
      return { cut: true, contested: await tunnels.giveWay(tunnel, reason) }
    },
    probe: async (holder) => ({ alive: (await this.#deps.tunnels.of(holder)?.probe()) ?? false }),
    invalidate: async ({ number, store, fingerprints }) => {
      const before = this.#invalidation
      const another = before !== undefined && store !== undefined && store !== before.store
      if (another) this.#deps.identities.invalidate(null)
      const complete = !before || another || number === before.number + 1
      if (before) this.#invalidation = { store: store ?? before.store, number }
      return { cut: await this.#recheck(complete ? fingerprints : null) }
    },
    lease: (question) => this.#deps.leases.grant(question),
    unlease: ({ lease, ...refusal }) => Promise.resolve({ cut: this.#deps.leases.end(lease, refusal) }),
    drain: ({ overMs }) => {
      const count = this.#deps.tunnels.size
      this.#deps.drain(overMs)
      return Promise.resolve({ tunnels: count })
    },
  }

  /** What is remembered of these keys (null: all) is forgotten; who is here with them is asked about again. */
  async #recheck(fingerprints: string[] | null): Promise<number> {
    const { identities, connections, gate } = this.#deps
    identities.invalidate(fingerprints)
    const cut = await Promise.all([connections.recheck(fingerprints), gate.recheck(fingerprints)])
    return cut[0] + cut[1]
  }

  #setFixedPorts(fixed: FixedPort[]): void {
    this.#deps.ports.setFixed(new Map(fixed.map((owner) => [owner.port, holderKey(owner)])))
  }
}
