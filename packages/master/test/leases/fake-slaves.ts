// Slaves as leases see them, without a wire: each hands out its ports in order and remembers what it granted and ended.
import { SshoalError, type LeaseAnswer, type LeaseQuestion } from '@sshoal/shared'

import type { LeaseSlave, LeaseSlaves } from '../../src/leases/lease-slaves.ts'

export interface FakeSlave extends LeaseSlave {
  region?: string
  ready: boolean
  reachable: boolean
  /** Ports that the slave cannot give for reasons of its own. */
  occupied: Set<number>
  standing: Map<string, LeaseQuestion & { port: number }>
}

export class FakeLeaseSlaves implements LeaseSlaves {
  readonly all = new Map<string, FakeSlave>()
  readonly ended: { slave: string; lease: string; code: string }[] = []
  /** Called before each grant is answered. */
  beforeGrant: (slave: string, question: LeaseQuestion) => Promise<void> = async () => {}

  constructor() {
    this.add('eu-1')
  }

  add(id: string, more: Partial<FakeSlave> = {}): FakeSlave {
    const slave: FakeSlave = {
      id,
      host: `${id}.example.org`,
      sshPort: 2_222,
      hostKeys: ['ssh-ed25519 AAAAC3Nza'],
      visitHost: '127.0.0.1',
      forwardPorts: { first: 20_000, last: 25_000 },
      tunnels: 0,
      capacity: 5_001,
      ready: true,
      reachable: true,
      occupied: new Set(),
      standing: new Map(),
      ...more,
    }
    this.all.set(id, slave)
    return slave
  }

  one(id = 'eu-1'): FakeSlave {
    const slave = this.all.get(id)
    if (!slave) throw new Error(`no slave ${id}`)
    return slave
  }

  candidates(region: string | undefined): LeaseSlave[] {
    return [...this.all.values()].filter(
      (slave) => slave.ready && (region === undefined || slave.region === region),
    )
  }

  get(id: string): LeaseSlave | undefined {
    return this.all.get(id)
  }

  async grant(id: string, question: LeaseQuestion): Promise<LeaseAnswer> {
    const slave = this.all.get(id)
    if (!slave?.reachable) throw new SshoalError('LINK_LOST', 'there is no link')
    await this.beforeGrant(id, question)
    const known = slave.standing.get(question.lease)
    if (known) {
      known.remainingMs = question.remainingMs
      return { outcome: 'granted', port: known.port }
    }
    const old = question.replaces === undefined ? undefined : slave.standing.get(question.replaces)
    const port = this.#choose(slave, question.port, old?.port)
    if (port === undefined)
      return { outcome: 'refused', code: question.port === undefined ? 'NO_PORT' : 'PORT_TAKEN', reason: '' }
    if (old?.port === port) slave.standing.delete(old.lease)
    slave.standing.set(question.lease, { ...question, port })
    return { outcome: 'granted', port }
  }

  async end(id: string, lease: string, { code }: { code: string }): Promise<boolean> {
    const slave = this.all.get(id)
    if (!slave?.reachable) throw new SshoalError('LINK_LOST', 'there is no link')
    this.ended.push({ slave: id, lease, code })
    return slave.standing.delete(lease)
  }

  #choose(slave: FakeSlave, wanted: number | undefined, olds: number | undefined): number | undefined {
    const taken = new Set([...slave.standing.values()].map(({ port }) => port))
    const { first, last } = slave.forwardPorts
    const free = (port: number): boolean => !taken.has(port) && !slave.occupied.has(port)
    if (wanted !== undefined) return free(wanted) || wanted === olds ? wanted : undefined
    for (let port = first; port <= last; port++) if (free(port)) return port
    return olds
  }
}
