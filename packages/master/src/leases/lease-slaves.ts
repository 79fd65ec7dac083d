// What leases need of the slaves: which may take one, how visitors and devices reach each, and the two requests.
import type { LeaseAnswer, LeaseQuestion } from '@sshoal/shared'

import type { LiveCluster } from '../cluster/live-cluster.ts'
import { eligibleSlaves, type RegionFallback } from '../cluster/select-slave.ts'

export interface LeaseSlave {
  id: string
  /** Null: known by a loopback address alone; the asker's own name for the master is as good. */
  host: string | null
  sshPort: number
  /** `type base64`, as behind the host in known_hosts. */
  hostKeys: string[]
  /** Where visitors reach its ports. */
  visitHost: string
  forwardPorts: { first: number; last: number }
  tunnels: number
  capacity: number
}

export interface LeaseSlaves {
  /** Ready ones of the region, or of the first fallback that has any. */
  candidates(region: string | undefined): LeaseSlave[]
  /** In the view, whatever its state. */
  get(id: string): LeaseSlave | undefined
  /** Rejects with LINK_LOST or LINK_DEADLINE. */
  grant(slave: string, question: LeaseQuestion): Promise<LeaseAnswer>
  end(slave: string, lease: string, refusal: { code: string; reason: string }): Promise<boolean>
}

const DEADLINE_MS = 3_000

export function leaseSlaves(cluster: LiveCluster, fallback: RegionFallback): LeaseSlaves {
  const describe = (id: string): LeaseSlave | undefined => {
    const slave = cluster.roster.slave(id)
    if (!slave) return undefined
    const { hello, reachableHost, forwardHost, tunnels, capacity } = slave
    return {
      id,
      host: reachableHost,
      sshPort: hello.publicPort,
      hostKeys: hello.hostKeys.map(({ algorithm, publicKey }) => `${algorithm} ${publicKey}`),
      visitHost: forwardHost,
      forwardPorts: hello.forwardPorts,
      tunnels,
      capacity,
    }
  }
  return {
    candidates: (region) =>
      eligibleSlaves([...cluster.slaves()], region === undefined ? {} : { region }, fallback).flatMap(
        ({ id }) => describe(id) ?? [],
      ),
    get: describe,
    grant: (slave, question) => cluster.askSlave(slave, 'lease', question, DEADLINE_MS),
    end: async (slave, lease, refusal) =>
      (await cluster.askSlave(slave, 'unlease', { lease, ...refusal }, DEADLINE_MS)).cut,
  }
}
