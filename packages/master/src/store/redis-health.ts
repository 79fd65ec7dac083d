// Whether a Redis may be trusted with durable facts: it must never drop a key by itself, and should write to a disk.
import { errorText, SshoalError, type Log } from '@sshoal/shared'

import type { RedisConnection } from './redis-connection.ts'
import type { RedisNames } from './redis-names.ts'

/** Throws STORE_EVICTS; warns without AOF, and where Redis does not say. */
export async function checkHealth(connection: RedisConnection, names: RedisNames, log: Log): Promise<void> {
  const info = await askInfo(connection, names)
  const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1]
  const policy = field('maxmemory_policy')
  if (policy === undefined)
    log.warn(
      { redis: connection.where },
      'Redis does not say whether it evicts keys; maxmemory-policy must be noeviction',
    )
  else if (policy !== 'noeviction')
    throw new SshoalError(
      'STORE_EVICTS',
      `${connection.where} has maxmemory-policy ${policy}, so it would forget devices and tokens when memory is short: set noeviction`,
    )
  if (field('aof_enabled') === '0')
    log.warn(
      { redis: connection.where },
      'Redis keeps no append-only file: a crash loses what was written since its last snapshot; set appendonly yes',
    )
}

/** Of the server that has the store, also in a Cluster: the pipeline goes where its first key is. */
async function askInfo(connection: RedisConnection, names: RedisNames): Promise<string> {
  const answers = await connection.call((client) =>
    client.pipeline().exists(names.meta).info('memory').info('persistence').exec(),
  )
  return (answers ?? [])
    .slice(1)
    .map(([error, text]) => (error ? `error:${errorText(error)}` : String(text)))
    .join('\n')
}
