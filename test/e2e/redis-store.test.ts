// The store on a real Redis: what every store must do, and what only one that is elsewhere can get wrong.
import { randomUUID } from 'node:crypto'

import { silentLog } from '@sshoal/shared'
import { beforeAll } from 'vitest'

import { parseRedisUrl } from '../../packages/master/src/store/redis-address.ts'
import { openRedisStore } from '../../packages/master/src/store/redis-store.ts'
import { describeStore } from '../../packages/master/test/store/store-suite.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})

const open = (prefix: string) =>
  openRedisStore({ address: parseRedisUrl(redis.url), prefix, log: silentLog() })

describeStore('the store in Redis', async () => {
  const prefix = randomUUID()
  return {
    open: () => open(prefix),
    async destroy() {
      await redis.cli('FLUSHALL')
    },
  }
})
