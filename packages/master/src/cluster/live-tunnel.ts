// One tunnel in the master's view. A million of these stand in memory, and hardly any is ever looked at: what is only shown
// is kept as one text, which costs a fifth of the objects that it is made into when somebody looks.
import {
  formatHostPort,
  holderKey,
  holderOfKey,
  type Forward,
  type Holder,
  type Tunnel,
} from '@sshoal/shared'

import { LATE, type LateData } from '../events/events.ts'
import type { TunnelView } from './cluster.ts'
import type { SlaveRecord } from './slave-record.ts'

/** What is only shown, as JSON in this order; the last is missing where the hook gave none. */
type Facts = [
  fingerprint: string,
  remoteAddress: string,
  connectedAt: number,
  forwards: [kind: 0 | 1, bindAddress: string, bindPort: number, port: number][],
  details?: Record<string, unknown>,
]

export interface TunnelFacts {
  fingerprint: string
  remoteAddress: string
  connectedAt: number
  forwards: Forward[]
  details?: Record<string, unknown>
}

export class LiveTunnel {
  /** The holder (`holderKey`). */
  readonly key: string
  readonly project: string
  readonly slave: SlaveRecord
  readonly epoch: number
  #text: string

  /** `project`: as one text that all tunnels of it share. */
  constructor(tunnel: Tunnel, slave: SlaveRecord, key = holderKey(tunnel), project = tunnel.project) {
    this.key = key
    this.project = project
    this.slave = slave
    this.epoch = tunnel.epoch
    this.#text = pack(tunnel)
  }

  get device(): string {
    return this.holder().device
  }

  get remoteAddress(): string {
    return this.facts().remoteAddress
  }

  get lease(): string | undefined {
    return this.holder().lease
  }

  holder(): Holder {
    return holderOfKey(this.key)
  }

  facts(): TunnelFacts {
    return unpack(this.#text)
  }

  /** What an event about it tells: of this moment, whenever it is read. */
  news(more?: object): LateData {
    return new TunnelNews(this, this.#text, more)
  }

  setForwards(forwards: Forward[]): void {
    this.#text = pack({ ...this.facts(), forwards })
  }

  /** The same tunnel, said again. */
  saidAgain(tunnel: Tunnel): void {
    this.#text = pack(tunnel)
  }

  /** As a slave said it. */
  wire(): Tunnel {
    return { ...this.holder(), epoch: this.epoch, ...this.facts() }
  }

  view(): TunnelView {
    const { slave } = this
    const { project, device, lease } = this.holder()
    const { fingerprint, remoteAddress, connectedAt, forwards, details = {} } = this.facts()
    return {
      device,
      project,
      ...(lease === undefined ? {} : { lease }),
      slave: slave.id,
      host: slave.publicHost,
      forwards: forwards.map((forward) => ({
        ...forward,
        address: forward.kind === 'bound' ? formatHostPort(slave.forwardHost, forward.port) : null,
      })),
      remoteAddress,
      fingerprint,
      connectedAt: new Date(connectedAt).toISOString(),
      epoch: this.epoch,
      details,
    }
  }
}

class TunnelNews implements LateData {
  readonly #tunnel: LiveTunnel
  readonly #text: string
  readonly #more: object | undefined

  constructor(tunnel: LiveTunnel, text: string, more: object | undefined) {
    this.#tunnel = tunnel
    this.#text = text
    this.#more = more
  }

  [LATE](): object {
    const { slave, epoch } = this.#tunnel
    const { device, lease } = this.#tunnel.holder()
    const { remoteAddress, fingerprint, forwards } = unpack(this.#text)
    const named = { device, ...(lease === undefined ? {} : { lease }), slave: slave.id }
    return { ...named, remoteAddress, fingerprint, epoch, forwards, ...this.#more }
  }
}

function pack({ fingerprint, remoteAddress, connectedAt, forwards, details }: TunnelFacts): string {
  const facts: Facts = [
    fingerprint,
    remoteAddress,
    connectedAt,
    forwards.map(({ kind, bindAddress, bindPort, port }) => [
      kind === 'bound' ? 0 : 1,
      bindAddress,
      bindPort,
      port,
    ]),
  ]
  if (details !== undefined) facts.push(details)
  const text = JSON.stringify(facts)
  // V8 hands it over as a tree of pieces, which takes twice the room; who looks at a letter makes it one piece.
  text.charCodeAt(0)
  return text
}

function unpack(text: string): TunnelFacts {
  const [fingerprint, remoteAddress, connectedAt, forwards, details] = JSON.parse(text) as Facts
  return {
    fingerprint,
    remoteAddress,
    connectedAt,
    forwards: forwards.map(([kind, bindAddress, bindPort, port]) => ({
      kind: kind === 0 ? 'bound' : 'named',
      bindAddress,
      bindPort,
      port,
    })),
    ...(details === undefined ? {} : { details }),
  }
}
