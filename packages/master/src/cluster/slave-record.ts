// One slave in the master's view: what its hello said, what it holds, what was reserved on it. Keeps counters, counts nothing.
import { isLoopback, type Hello, type MasterWire, type SlaveStatus } from '@sshoal/shared'

import type { SlaveView } from './cluster.ts'
import type { SlaveFacts } from './feed/cluster-feed.ts'
import { Reservations } from './reservations.ts'
import type { Candidate } from './select-slave.ts'
import { TunnelTable } from './tunnel-table.ts'

const BUCKETS = 64

export class SlaveRecord implements Candidate {
  readonly id: string
  /** Told after every change of what a choice among slaves looks at. */
  changed: ((slave: SlaveRecord) => void) | undefined
  readonly table = new TunnelTable(BUCKETS, () => this.changed?.(this))
  readonly reservations = new Reservations(() => this.changed?.(this))
  registeredAt = Date.now()
  /** When its link was accepted, µs of the cluster's clock. */
  since = 0
  hello: Hello
  /** The link that speaks for this slave; changes that come over another are dropped. */
  link: string
  wire: MasterWire | undefined
  /** The master it is linked to, where that is another one. */
  master: string | undefined
  seenAddress: string
  #draining: boolean
  #silent = false
  #stale = false
  #startedAt: number
  /** While another master says its tunnels again: those that were named, with their epochs. */
  named: Map<string, number> | undefined
  status: SlaveStatus = { load: 0, visits: 0, connections: 0 }

  constructor(hello: Hello, link: string, wire: MasterWire | undefined, seenAddress: string) {
    this.id = hello.id
    this.hello = hello
    this.link = link
    this.wire = wire
    this.seenAddress = seenAddress
    this.#draining = hello.draining
    this.#startedAt = Date.now() - hello.uptimeSeconds * 1_000
  }

  /** A newer link speaks for this slave from now on. */
  relink(hello: Hello, link: string, wire: MasterWire, seenAddress: string): void {
    this.hello = hello
    this.link = link
    this.wire = wire
    this.master = undefined
    this.#silent = false
    this.seenAddress = seenAddress
    this.#draining = hello.draining
    this.#stale = false
    this.#startedAt = Date.now() - hello.uptimeSeconds * 1_000
    this.changed?.(this)
  }

  /** It is linked to another master from now on. */
  follow(master: string, link: string, facts: SlaveFacts): void {
    this.hello = facts.hello
    this.link = link
    this.wire = undefined
    this.master = master
    this.#silent = false
    this.seenAddress = facts.seenAddress
    this.registeredAt = facts.registeredAt
    this.since = facts.since
    this.#startedAt = facts.registeredAt - facts.hello.uptimeSeconds * 1_000
    this.setState(facts.state)
  }

  setState(state: SlaveFacts['state']): void {
    this.#stale = state === 'stale'
    if (state !== 'stale') this.#draining = state === 'draining'
    this.changed?.(this)
  }

  setDraining(draining: boolean): void {
    this.#draining = draining
    this.changed?.(this)
  }

  /** Its master, another one, has not renewed it lately. */
  setSilent(silent: boolean): void {
    this.#silent = silent
    this.changed?.(this)
  }

  /** What other masters are told of it. */
  facts(): SlaveFacts {
    // The signature proved the link to this master and proves nothing to others.
    const hello = { ...this.hello, signature: '' }
    return {
      hello,
      seenAddress: this.seenAddress,
      state: this.state,
      registeredAt: this.registeredAt,
      since: this.since,
    }
  }

  /** Its link broke; it has the grace to come back. */
  lose(): void {
    this.wire = undefined
    this.#stale = true
    this.changed?.(this)
  }

  get state(): 'ready' | 'stale' | 'draining' {
    if (this.#stale || this.#silent) return 'stale'
    return this.#draining ? 'draining' : 'ready'
  }

  get region(): string | undefined {
    return this.hello.region
  }

  get sshPorts(): readonly number[] {
    return this.hello.sshPorts
  }

  get capacity(): number {
    return this.hello.capacity
  }

  get tunnels(): number {
    return this.table.size
  }

  /** As of the last count. */
  get reserved(): number {
    return this.reservations.counted
  }

  /** Where devices reach it; where it did not say and is seen on loopback, only the asker knows a name for that. */
  get reachableHost(): string | null {
    return this.hello.publicHost ?? (isLoopback(this.seenAddress) ? null : this.seenAddress)
  }

  get publicHost(): string {
    return this.hello.publicHost ?? this.seenAddress
  }

  get forwardHost(): string {
    const { forwardHost, forwardAddress } = this.hello
    if (forwardHost !== undefined) return forwardHost
    return forwardAddress === '0.0.0.0' || forwardAddress === '::' ? this.publicHost : forwardAddress
  }

  view(): SlaveView {
    const { addresses } = this.hello
    return {
      id: this.id,
      publicHost: this.publicHost,
      publicPort: this.hello.publicPort,
      region: this.region ?? null,
      state: this.state,
      tunnels: this.tunnels,
      reserved: this.reservations.count(performance.now()),
      capacity: this.capacity,
      load: this.status.load,
      version: this.hello.version,
      uptimeSeconds: Math.max(0, Math.round((Date.now() - this.#startedAt) / 1_000)),
      addresses: addresses.includes(this.seenAddress) ? addresses : [...addresses, this.seenAddress],
      registeredAt: new Date(this.registeredAt).toISOString(),
    }
  }
}
