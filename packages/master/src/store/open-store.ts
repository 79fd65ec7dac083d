// Which store a master works with: the embedded one in its data folder, or the Redis that several masters share.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { errorText, SshoalError, type Log } from '@sshoal/shared'

import type { MasterSettings } from '../options.ts'
import { openLmdbStore } from './lmdb-store.ts'
import { parseRedisUrl } from './redis-address.ts'
import type { RedisAccess } from './redis-connection.ts'
import type { Store } from './store.ts'

export type StoreSettings = Pick<
  MasterSettings,
  | 'data'
  | 'redis'
  | 'redisPassword'
  | 'redisSentinelPassword'
  | 'redisCa'
  | 'redisCert'
  | 'redisKey'
  | 'redisServerName'
  | 'redisPrefix'
>

/** Throws what `openLmdbStore` and `openRedisStore` throw. A Redis with another store than this folder knows opens as `changed`. */
export async function openStore(settings: StoreSettings, log: Log): Promise<Store> {
  const access = redisAccess(settings)
  if (!access) return openLmdbStore(settings.data, { log })
  const file = join(settings.data, 'redis-store-id')
  // ioredis takes longer to load than the whole embedded store.
  const { openRedisStore } = await import('./redis-store.ts')
  return openRedisStore({
    ...access,
    prefix: settings.redisPrefix,
    folder: settings.data,
    log,
    known: readKnown(file),
    remember: (id) => remember(file, id, log),
  })
}

/** How to reach the Redis of the settings; undefined: the store is embedded. */
export function redisAccess(settings: StoreSettings): RedisAccess | undefined {
  if (settings.redis === undefined) return undefined
  const address = parseRedisUrl(settings.redis)
  return {
    address:
      settings.redisPassword === undefined ? address : { ...address, password: settings.redisPassword },
    tls: {
      ca: settings.redisCa,
      cert: settings.redisCert,
      key: settings.redisKey,
      serverName: settings.redisServerName,
    },
    sentinelPassword: settings.redisSentinelPassword,
  }
}

function readKnown(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim() || undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new SshoalError('STORE_FAILED', `cannot read ${file}: ${errorText(error)}`, { cause: error })
  }
}

/** Without the file a master takes any store at its next start, so it is worth a line, but no end. */
function remember(file: string, id: string, log: Log): void {
  try {
    mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 })
    writeFileSync(`${file}.new`, `${id}\n`, { mode: 0o600, flush: true })
    renameSync(`${file}.new`, file)
  } catch (error) {
    log.warn({ file, reason: errorText(error) }, 'the id of the store in Redis cannot be kept')
  }
}
