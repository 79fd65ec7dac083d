// A process that begins to migrate a store, says so in the middle, and goes no further: it waits to be killed.
import { silentLog } from '@sshoal/shared'

import { openLmdbStore } from '../../src/store/lmdb-store.ts'
import { parseRedisUrl } from '../../src/store/redis-address.ts'
import { openRedisStore } from '../../src/store/redis-store.ts'
import { newSchema } from './migration-steps.ts'

const [, , folder = '', url = '', prefix = ''] = process.argv
const schema = newSchema((count) => {
  if (count < 20) return undefined
  process.send?.('in the middle')
  return new Promise(() => setInterval(() => {}, 60_000))
})
const log = silentLog()
if (url === '') await openLmdbStore(folder, { schema })
else await openRedisStore({ address: parseRedisUrl(url), prefix, log, folder, schema })
process.send?.('done')
