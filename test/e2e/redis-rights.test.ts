// The rights that docs/backup.md gives a user of sshoal in Redis: everything works with them, and Redis notes nothing that it
// had to deny. With less it would.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import {
  callApi,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  runSshoal,
  startMaster,
  startSlave,
  type Master,
} from '../kit/index.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'

const page = readFileSync(new URL('../../docs/backup.md', import.meta.url), 'utf8')
const [, words = ''] = /^ACL SETUSER sshoal on (.+)$/m.exec(page) ?? []
const [, more = ''] = /With Redis Cluster also `([^`]+)`/.exec(page) ?? []
const rights = words.replace('PASSWORD', 'secret').split(' ')

const api = <T>({ url, adminToken: token }: Master, method: string, path: string, body?: unknown) =>
  callApi<T>({ url, token }, method, path, body)

/** Two masters and a slave do a bit of everything. */
async function tryOut(redis: RedisServer, url: string): Promise<void> {
  const flags = ['--redis', url]
  const one = await startMaster({ flags })
  const slave = await startSlave({ master: one, id: 's1' })
  const folder = makeFolder()
  const key = await makeKey(folder)
  expect((await api(one, 'POST', '/devices', { id: 'door', keys: [key.publicKey] })).status).toBe(201)
  const device = openDevice({ slave, key })
  await device.port()
  // It reads what the first one holds.
  const two = await startMaster({ flags })
  await eventually(async () => {
    const { body } = await api<{ tunnel: unknown }>(two, 'GET', '/devices/door')
    expect(body.tunnel).toMatchObject({ slave: 's1' })
  })
  expect((await callApi({ url: two.url }, 'GET', '/connect')).status).toBe(200)
  // By a master that does not have its slave.
  expect((await api(two, 'POST', '/devices/door/kick')).status).toBeLessThan(300)
  await device.exited
  const file = join(folder, 'export.ndjson')
  const at = ['--url', two.url, '--data', two.dataDir]
  expect((await runSshoal(['store', 'export', file, ...at])).status).toBe(0)
  expect((await runSshoal(['store', 'import', file, '--replace', '--yes', ...at])).status).toBe(0)
  expect((await api(one, 'DELETE', '/devices/door')).status).toBeLessThan(300)
  expect(await redis.cli('ACL', 'LOG')).toBe('')
}

test('with the rights of the documentation two masters do everything, and Redis denies nothing', async () => {
  const redis = await startRedis()
  await redis.cli('ACL', 'SETUSER', 'sshoal', 'on', ...rights)
  await redis.cli('ACL', 'LOG', 'RESET')
  await tryOut(redis, `redis://sshoal:secret@${redis.host}:${redis.port}`)
  // The log is not empty by itself.
  await redis.cli('ACL', 'SETUSER', 'sshoal', '-@scripting')
  await eventually(async () => expect(await redis.cli('ACL', 'LOG')).toContain('evalsha'))
}, 90_000)

test('with the rights that a Redis Cluster wants besides it does so there too', async () => {
  const redis = await startRedis({
    config: [
      ['cluster-enabled', 'yes'],
      ['cluster-announce-ip', '127.0.0.1'],
    ],
  })
  await redis.cli('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  await eventually(async () => (await redis.cli('CLUSTER', 'INFO')).includes('cluster_state:ok'))
  await redis.cli('ACL', 'SETUSER', 'sshoal', 'on', ...rights, ...more.split(' '))
  await redis.cli('ACL', 'LOG', 'RESET')
  await tryOut(redis, `redis+cluster://sshoal:secret@${redis.host}:${redis.port}`)
}, 90_000)
