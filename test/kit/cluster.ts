// A cluster of real processes on this machine: a master on the embedded store and some slaves. A cluster on
// several hosts is made of `startMaster` and `startSlave`.

import { callApi, followEvents, type Answer, type Events } from './api.ts'
import { asOwner, currentOwner } from './ending.ts'
import type { Key } from './key.ts'
import { startMaster, type Master } from './master.ts'
import { takePorts } from './port.ts'
import { startSlave, type Slave } from './slave.ts'
import { eventually } from './wait.ts'

export interface SlaveView {
  id: string
  publicHost: string
  publicPort: number
  region: string | null
  state: string
  tunnels: number
  reserved: number
  capacity: number
}

export interface ClusterView {
  masters: unknown[]
  slaves: SlaveView[]
  totals: { slaves: number; tunnels: number; reserved: number }
}

export interface TunnelView {
  device: string
  slave: string
  host: string
  forwards: { bindAddress: string; bindPort: number; port: number; address: string }[]
  remoteAddress: string
  fingerprint: string
  connectedAt: string
  epoch: number
  details: Record<string, unknown>
}

export interface ClusterOptions {
  slaves?: number
  hook?: string
  masterFlags?: string[]
  /** For all slaves alike, or for the n-th (from 0). */
  slaveFlags?: string[] | ((n: number) => string[])
  /** Size of each slave's port range; 50 unless told. */
  forwardPorts?: number
  env?: Record<string, string>
}

export interface Cluster {
  readonly master: Master
  slaves: Slave[]
  api<T = unknown>(method: string, path: string, body?: unknown): Promise<Answer<T>>
  cluster(): Promise<ClusterView>
  tunnels(): Promise<TunnelView[]>
  addDevice(id: string, key: Key, more?: Record<string, unknown>): Promise<void>
  events(lastEventId?: string): Promise<Events>
  /** Starts the master again on the same data and address, after ending it with this signal. */
  restartMaster(signal?: NodeJS.Signals): Promise<void>
  stop(): Promise<void>
}

/** Answers when the master lists every slave as ready. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const { slaves: count = 1, hook, masterFlags = [], slaveFlags = [], forwardPorts = 50, env } = options
  const start = { hook, flags: masterFlags, env }
  // A master that a test starts again must live as long as the cluster, not only as long as that test.
  const owner = currentOwner()
  let master = await startMaster(start)
  const slaves = await Promise.all(
    Array.from({ length: count }, async (_, n) => {
      const flags = typeof slaveFlags === 'function' ? slaveFlags(n) : slaveFlags
      const id = `slave-${n + 1}`
      return startSlave({ master, id, flags, env, forwardPorts: await takePorts(forwardPorts) })
    }),
  )
  const here = () => ({ url: master.url, token: master.adminToken })
  const expectOk = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const answer = await callApi<T>(here(), method, path, body)
    if (answer.status < 300) return answer.body
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
  }
  const cluster: Cluster = {
    get master() {
      return master
    },
    slaves,
    api: (method, path, body) => callApi(here(), method, path, body),
    cluster: () => expectOk('GET', '/cluster'),
    async tunnels() {
      const page = await expectOk<{ tunnels: TunnelView[] }>('GET', '/cluster/tunnels')
      return page.tunnels
    },
    async addDevice(id, key, more = {}) {
      await expectOk('POST', '/devices', { id, keys: [key.publicKey], ...more })
    },
    events: (lastEventId) => followEvents(here(), lastEventId),
    async restartMaster(signal = 'SIGTERM') {
      master.process.signal(signal)
      await master.process.exited
      const again = { ...start, dataDir: master.dataDir, listen: new URL(master.url).host }
      master = await asOwner(owner, () => startMaster(again))
    },
    async stop() {
      await Promise.all(slaves.map(({ process }) => process.stop()))
      await master.process.stop()
    },
  }
  await eventually(
    async () => {
      const { slaves } = await cluster.cluster()
      const states = slaves.map(({ id, state }) => `${id} ${state}`).sort()
      const wanted = cluster.slaves.map(({ id }) => `${id} ready`).sort()
      if (states.join() !== wanted.join()) throw new Error(`the master lists: ${states.join()}`)
    },
    { within: 20_000, message: 'every slave is listed as ready' },
  )
  return cluster
}
