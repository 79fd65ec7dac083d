// The rooms of people, pools, grants and the audit as a master has them, on a real Redis and with no slaves: it changes what
// it is asked to, and tells nobody.
import { silentLog } from '@sshoal/shared'

import { makeAccess } from '../../packages/master/src/access/access.ts'
import { Registry } from '../../packages/master/src/registry/registry.ts'
import { parseRedisUrl } from '../../packages/master/src/store/redis-address.ts'
import { openRedisStore } from '../../packages/master/src/store/redis-store.ts'
import { gateSlave } from '../../packages/master/test/access/fixture.ts'
import { FakeCluster } from '../../packages/master/test/fake-cluster.ts'
import { fingerprint } from '../../packages/master/test/key-lines.ts'
import { atEnd } from './ending.ts'
import { makeFolder } from './folder.ts'

export interface AccessRoomsOptions {
  redisUrl: string
  prefix: string
  auditKeep?: number
}

export async function startAccessRooms({ redisUrl, prefix, auditKeep = 1_000 }: AccessRoomsOptions) {
  const log = silentLog()
  const address = parseRedisUrl(redisUrl)
  const store = await openRedisStore({ address, prefix, log, folder: makeFolder() })
  const cluster = new FakeCluster()
  const registry = new Registry({ store, cluster, log, authority: 'store' })
  const slave = gateSlave('eu-1', { region: 'eu' })
  const access = makeAccess({
    store,
    registry,
    cluster,
    slaves: { get: (id) => (id === slave.id ? slave : undefined), all: () => [slave] },
    masters: () => [],
    announce: () => {},
    log,
    gateHost: { host: 'gate.example.com', port: 22 },
    staleLimitMs: 1_000,
    auditRetentionMs: 86_400_000,
    auditKeep,
    now: Date.now,
    countVisit: () => {},
    countReport: () => {},
    countDropped: () => {},
  })
  atEnd(async () => {
    await access.close()
    await registry.close()
    await store.close()
  })
  const outcome = async (user: string, target: string, key = 1): Promise<string> => {
    const answer = await access.desk.visit(
      {
        project: 'default',
        user,
        fingerprint: fingerprint(key),
        target,
        port: 22,
        remoteAddress: '198.51.100.4',
      },
      'eu-1',
    )
    return answer.outcome === 'granted' ? 'granted' : answer.code
  }
  return { store, cluster, registry, access, outcome }
}
