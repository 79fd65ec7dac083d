// A cluster for tests of the rooms around it: says what it was told to say, and remembers what it was asked.
import { SshoalError } from '@sshoal/shared'

import type {
  Cluster,
  ClusterView,
  Slot,
  SlotRequest,
  TunnelFilter,
  TunnelView,
} from '../src/cluster/cluster.ts'

export class FakeCluster implements Cluster {
  slots: SlotRequest[] = []
  slotAnswer: Slot | undefined = {
    slave: 'eu-1',
    host: 'eu-1.example.org',
    port: 2222,
    hostKeys: [{ algorithm: 'ssh-ed25519', publicKey: 'AAAAC3Nza' }],
    expiresInMs: 2_500,
  }
  live: TunnelView[] = []
  invalidated: (string[] | null)[] = []
  /** The numbers that the store gave for them; undefined: none. */
  numbers: (number | undefined)[] = []
  invalidateCuts = 0
  fixedPortsChanges = 0
  kicked: { project: string; device: string; reason: string }[] = []
  drained: { slave: string; overMs: number }[] = []

  slot(request: SlotRequest): Slot | undefined {
    this.slots.push(request)
    return this.slotAnswer
  }

  view(): ClusterView {
    return {
      masters: [{ id: 'm1', version: '0.1.0', uptimeSeconds: 5 }],
      slaves: [
        {
          id: 'eu-1',
          publicHost: 'eu-1.example.org',
          publicPort: 2222,
          region: 'eu',
          state: 'ready',
          tunnels: this.live.length,
          reserved: 1,
          capacity: 100,
          load: 0.25,
          version: '0.1.0',
          uptimeSeconds: 9,
          addresses: ['192.0.2.10'],
          registeredAt: '2030-01-01T00:00:00.000Z',
        },
      ],
      totals: { slaves: 1, tunnels: this.live.length, reserved: 1 },
    }
  }

  tunnels(filter: TunnelFilter) {
    const tunnels = this.live.filter(
      (tunnel) =>
        (filter.project === undefined || tunnel.project === filter.project) &&
        (filter.device === undefined || tunnel.device === filter.device),
    )
    return { tunnels: tunnels.slice(0, filter.limit), next: null }
  }

  tunnelOf({ project, device }: { project: string; device: string }): TunnelView | undefined {
    return this.live.find((tunnel) => tunnel.project === project && tunnel.device === device)
  }

  count(project: string): number {
    return this.live.filter((tunnel) => tunnel.project === project).length
  }

  async kick({ project, device }: { project: string; device: string }, reason: string): Promise<boolean> {
    this.kicked.push({ project, device, reason })
    return this.tunnelOf({ project, device }) !== undefined
  }

  async invalidate(fingerprints: string[] | null, number?: number): Promise<number> {
    this.invalidated.push(fingerprints)
    this.numbers.push(number)
    return this.invalidateCuts
  }

  async drain(slave: string, overMs: number): Promise<{ tunnels: number }> {
    if (slave !== 'eu-1') throw new SshoalError('UNKNOWN_SLAVE', `there is no slave "${slave}"`)
    this.drained.push({ slave, overMs })
    return { tunnels: 7 }
  }

  fixedPortsChanged(): void {
    this.fixedPortsChanges++
  }
}

export function tunnelView(device: string, project = 'default'): TunnelView {
  return {
    device,
    project,
    slave: 'eu-1',
    host: 'eu-1.example.org',
    forwards: [{ kind: 'bound', bindAddress: '', bindPort: 0, port: 20_001, address: '127.0.0.1:20001' }],
    remoteAddress: '203.0.113.5',
    fingerprint: 'SHA256:0000000000000000000000000000000000000000000',
    connectedAt: '2030-01-01T00:00:00.000Z',
    epoch: 1_893_456_000_000_000,
    details: { name: 'pump' },
  }
}
