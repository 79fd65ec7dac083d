// The relays of other slaves as this one uses them: one connection to each, and a short memory of those that do not answer,
// so that visits to them are refused at once.
import type { Carrier, Log, RelayedVisit } from '@sshoal/shared'

import type { Keepalive } from '../keepalive.ts'
import type { SlaveMetrics } from '../metrics.ts'
import { ChannelOpenError, OpenFailure, type SshChannel } from '../ssh2/index.ts'
import type { GateSockets } from './gate-sockets.ts'
import { RelayLink } from './relay-link.ts'

/** How long a relay that could not be reached is not tried again. */
const FAILED_MS = 2_000

type Relay = NonNullable<Carrier['relay']>

export interface RelayPoolOptions {
  self: string
  /** The key that logs in, as it is now. */
  privateKey(): string
  software: string
  keepalive: Keepalive
  sockets: GateSockets
  metrics: SlaveMetrics
  log: Log
}

export interface RelayedChannel {
  channel: SshChannel
  /** To be called once, when the visit is over. */
  over(): void
}

export class RelayPool {
  readonly #options: RelayPoolOptions
  readonly #links = new Map<string, RelayLink>()
  readonly #failed = new Map<string, { until: number; text: string }>()
  #closed = false

  constructor(options: RelayPoolOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#links.size
  }

  /** Rejects with `ChannelOpenError`. A connection that turns out to be dead when it is used again is made anew, once. */
  async open(slave: string, relay: Relay, visit: RelayedVisit): Promise<RelayedChannel> {
    const pooled = this.#links.get(keyOf(slave, relay))
    if (pooled?.loggedIn) {
      try {
        return await this.#openOn(pooled, visit)
      } catch (error) {
        if ([...this.#links.values()].includes(pooled)) throw error
      }
    }
    return this.#openOn(this.#linkTo(slave, relay), visit)
  }

  close(): void {
    this.#closed = true
    for (const link of this.#links.values()) link.close('the slave stops')
  }

  async #openOn(link: RelayLink, visit: RelayedVisit): Promise<RelayedChannel> {
    const channel = await link.open(visit)
    return { channel, over: () => link.over() }
  }

  #linkTo(slave: string, relay: Relay): RelayLink {
    const key = keyOf(slave, relay)
    const known = this.#links.get(key)
    if (known) return known
    const failed = this.#failed.get(key)
    if (failed && performance.now() < failed.until) throw unreachable(failed.text)
    if (this.#closed) throw unreachable('this slave stops')
    const { sockets, metrics, log, self, software, keepalive } = this.#options
    if (!sockets.take()) throw unreachable('this slave has no socket left for it')
    const { host, port, hostKeys } = relay
    const link = new RelayLink({
      self,
      host,
      port,
      hostKeys,
      privateKey: this.#options.privateKey(),
      software,
      keepalive,
      onClose: () => {
        sockets.give()
        if (this.#links.get(key) === link) this.#links.delete(key)
        metrics.relayConnections.set({ direction: 'out' }, this.#links.size)
      },
    })
    this.#links.set(key, link)
    metrics.relayConnections.set({ direction: 'out' }, this.#links.size)
    link.ready().then(
      () => {
        this.#failed.delete(key)
        log.info({ peer: slave, host, port }, 'relay connected')
      },
      (error: Error) => {
        this.#failed.set(key, { until: performance.now() + FAILED_MS, text: error.message })
        log.warn({ peer: slave, host, port, reason: error.message }, 'the relay of a slave cannot be used')
      },
    )
    return link
  }
}

function keyOf(slave: string, { host, port, hostKeys }: Relay): string {
  return JSON.stringify([slave, host, port, hostKeys])
}

function unreachable(text: string): ChannelOpenError {
  return new ChannelOpenError(OpenFailure.CONNECT_FAILED, text)
}
