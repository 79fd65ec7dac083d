// Several masters on one Redis, each in a process of its own, and slaves that know them all. The n-th slave asks the
// n-th master first, so that slaves hang on different ones.

import { callApi, type Answer } from './api.ts'
import type { ClusterView, TunnelView } from './cluster.ts'
import { asOwner, currentOwner } from './ending.ts'
import type { Key } from './key.ts'
import { startMaster, type Master } from './master.ts'
import { startRedis, type RedisServer } from './redis.ts'
import { startSlave, type Slave } from './slave.ts'
import { eventually } from './wait.ts'

export interface MastersOptions {
  masters?: number
  slaves?: number
  redis?: RedisServer
  masterFlags?: string[]
  /** For all slaves alike, or for the n-th (from 0). */
  slaveFlags?: string[] | ((n: number) => string[])
  /** What the n-th slave dials; all masters, its own first, unless told. */
  urls?: (n: number, masters: Master[]) => string
}

export interface Masters {
  redis: RedisServer
  masters: Master[]
  slaves: Slave[]
  /** What the n-th master answers. */
  api<T = unknown>(n: number, method: string, path: string, body?: unknown): Promise<Answer<T>>
  cluster(n: number): Promise<ClusterView>
  tunnels(n: number): Promise<TunnelView[]>
  addDevice(id: string, key: Key, more?: Record<string, unknown>): Promise<void>
  /** On the same address and data. */
  restartMaster(n: number): Promise<void>
  restartSlave(n: number): Promise<void>
  /**
   * Waits until every living master shows the same slaves and the same tunnels, and of each living slave exactly as many
   * as it says that it holds. Answers `device slave` of each tunnel, sorted.
   */
  agreed(expected?: string[], within?: number): Promise<string[]>
}

/** Answers when every master lists every slave as ready. */
export async function startMasters(options: MastersOptions = {}): Promise<Masters> {
  const { masters: count = 2, slaves: slaveCount = 2, masterFlags = [], slaveFlags = [] } = options
  const owner = currentOwner()
  const redis = options.redis ?? (await startRedis())
  const flags = ['--redis', redis.url, ...masterFlags]
  const masters = await Promise.all(Array.from({ length: count }, () => startMaster({ flags })))
  const urls =
    options.urls ?? ((n: number) => masters.map((_, at) => masters[(n + at) % count]?.url ?? '').join())
  const launch = (n: number, again?: Slave): Promise<Slave> => {
    const master = { url: urls(n, masters), slaveTokenFile: of(masters, n % count).slaveTokenFile }
    return startSlave({
      master,
      id: `s${n + 1}`,
      flags: typeof slaveFlags === 'function' ? slaveFlags(n) : slaveFlags,
      ...(again === undefined
        ? {}
        : {
            folder: again.folder,
            forwardPorts: again.forwardPorts,
            sshListen: `${again.host}:${again.port}`,
          }),
    })
  }
  const slaves = await Promise.all(Array.from({ length: slaveCount }, (_, n) => launch(n)))
  const here = (n: number) => {
    const { url, adminToken } = of(masters, n)
    return { url, token: adminToken }
  }
  const expectOk = async <T>(n: number, method: string, path: string, body?: unknown): Promise<T> => {
    const answer = await callApi<T>(here(n), method, path, body)
    if (answer.status < 300) return answer.body
    throw new Error(`${method} ${path} of master ${n}: ${answer.status} ${JSON.stringify(answer.body)}`)
  }
  const living = (): number[] => masters.flatMap(({ process }, n) => (process.exit === undefined ? [n] : []))
  const all: Masters = {
    redis,
    masters,
    slaves,
    api: (n, method, path, body) => callApi(here(n), method, path, body),
    cluster: (n) => expectOk(n, 'GET', '/cluster'),
    async tunnels(n) {
      return (await expectOk<{ tunnels: TunnelView[] }>(n, 'GET', '/cluster/tunnels?limit=1000')).tunnels
    },
    async addDevice(id, key, more = {}) {
      await expectOk(living()[0] ?? 0, 'POST', '/devices', { id, keys: [key.publicKey], ...more })
    },
    async restartMaster(n) {
      const { dataDir, url, process } = of(masters, n)
      if (process.exit === undefined) process.signal('SIGKILL')
      await process.exited
      masters[n] = await asOwner(owner, () => startMaster({ flags, dataDir, listen: new URL(url).host }))
    },
    async restartSlave(n) {
      const before = of(slaves, n)
      slaves[n] = await asOwner(owner, () => launch(n, before))
    },
    agreed: (expected, within = 15_000) =>
      eventually(
        async () => {
          const views = await Promise.all(living().map((n) => shownBy(all, n)))
          const [first] = views
          if (!first) throw new Error('no master lives')
          for (const view of views) if (!same(view, first)) throw new Error(differ(first, view))
          for (const { process, statusUrl, id } of slaves) {
            if (process.exit !== undefined) continue
            const { body } = await callApi<{ tunnels: number }>({ url: statusUrl }, 'GET', '/healthz')
            const shown = first.tunnels.filter((text) => text.split(' ')[1] === id).length
            if (shown !== body.tunnels)
              throw new Error(`${id} holds ${body.tunnels}, masters show ${JSON.stringify(first)}`)
          }
          const found = first.tunnels.map((text) => text.split(' ').slice(0, 2).join(' '))
          if (expected && !same(found, expected)) throw new Error(differ(expected, found))
          return found
        },
        { within, message: 'masters and slaves agree' },
      ),
  }
  await eventually(
    async () => {
      for (const n of living()) {
        const ready = (await all.cluster(n)).slaves.filter(({ state }) => state === 'ready')
        if (ready.length !== slaveCount) throw new Error(`master ${n} lists ${ready.length} slaves`)
      }
    },
    { within: 20_000, message: 'every master lists every slave as ready' },
  )
  return all
}

export function of<T>(list: readonly T[], n: number): T {
  const found = list[n]
  if (found === undefined) throw new Error(`there is no number ${n}`)
  return found
}

/** What must be alike: no uptimes and loads, which move. */
async function shownBy(all: Masters, n: number) {
  const [{ masters, slaves }, tunnels] = await Promise.all([all.cluster(n), all.tunnels(n)])
  return {
    masters: (masters as { id: string }[]).map(({ id }) => id),
    slaves: slaves.map(({ id, state, tunnels, publicHost, publicPort, capacity }) => ({
      id,
      state,
      tunnels,
      publicHost,
      publicPort,
      capacity,
    })),
    tunnels: tunnels
      .map(
        ({ device, slave, epoch, forwards }) =>
          `${device} ${slave} ${epoch} ${forwards.map(({ port }) => port).join()}`,
      )
      .sort(),
  }
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
const differ = (a: unknown, b: unknown): string => `${JSON.stringify(a)}\nis not\n${JSON.stringify(b)}`
