// Master processes that share a store in Redis: their tokens, their devices, and what they say when it is away or another.
import { readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { eventually, makeFolder, runSshoal, startMaster, type Master } from '../kit/index.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'

const startOn = (redis: RedisServer, dataDir = makeFolder()): Promise<Master> =>
  startMaster({ dataDir, env: { SSHOAL_REDIS: redis.url } })

async function ask(master: Master, method: string, path: string, body?: object, token = master.adminToken) {
  const response = await fetch(`${master.url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(5_000),
  })
  const text = await response.text()
  return {
    status: response.status,
    body: (text === '' ? {} : JSON.parse(text)) as { code?: string; id?: string },
  }
}

test('two masters have tokens of their own that are good at both, and the same devices', async () => {
  const redis = await startRedis()
  const [one, two] = await Promise.all([startOn(redis), startOn(redis)])
  expect(one.adminToken).not.toBe(two.adminToken)
  expect((await ask(one, 'POST', '/devices', { id: 'door-7' }, two.adminToken)).status).toBe(201)
  expect((await ask(two, 'GET', '/devices/door-7', undefined, one.adminToken)).status).toBe(200)
  expect((await ask(two, 'POST', '/devices', { id: 'door-7' })).body.code).toBe('DEVICE_EXISTS')
  const file = join(one.dataDir, 'redis-store-id')
  expect(statSync(file).mode & 0o777).toBe(0o600)
  expect(readFileSync(file, 'utf8')).toBe(readFileSync(join(two.dataDir, 'redis-store-id'), 'utf8'))
  // A third one without files gets its own and revokes nobody's, and so does one that starts again.
  const three = await startOn(redis)
  await two.process.stop()
  const again = await startOn(redis, two.dataDir)
  expect(again.adminToken).toBe(two.adminToken)
  for (const { adminToken } of [one, two, three])
    expect((await ask(again, 'GET', '/devices/door-7', undefined, adminToken)).status).toBe(200)
})

test('while Redis is away writes are refused within two seconds, and go on when it is back', async () => {
  const redis = await startRedis()
  const master = await startOn(redis)
  await ask(master, 'POST', '/devices', { id: 'door-7' })
  await redis.kill()
  const begin = performance.now()
  const refused = await ask(master, 'POST', '/devices', { id: 'door-8' })
  expect(performance.now() - begin).toBeLessThan(2_000)
  expect(refused).toMatchObject({ status: 503, body: { code: 'STORE_UNAVAILABLE' } })
  await redis.restart()
  await eventually(async () => (await ask(master, 'POST', '/devices', { id: 'door-8' })).status === 201)
  expect((await ask(master, 'GET', '/devices/door-7')).status).toBe(200)
  expect(master.process.exit).toBeUndefined()
})

test('a Redis without its data is another store, also for a master that starts again', async () => {
  const redis = await startRedis({ durable: false })
  const master = await startOn(redis)
  await redis.restart({ empty: true })
  await eventually(async () => {
    const { status, body } = await ask(master, 'GET', '/devices')
    return status === 503 && body.code === 'STORE_CHANGED'
  })
  await master.process.stop()
  const again = await startOn(redis, master.dataDir)
  expect(await ask(again, 'GET', '/devices')).toMatchObject({ status: 503, body: { code: 'STORE_CHANGED' } })
  await again.process.stop()
  // Whoever takes the file away says that any store is right; the tokens of the files go on.
  rmSync(join(master.dataDir, 'redis-store-id'))
  const fresh = await startOn(redis, master.dataDir)
  expect(fresh.adminToken).toBe(master.adminToken)
  expect((await ask(fresh, 'GET', '/devices')).status).toBe(200)
})

test('a start that cannot be good says why and where, without the password', async () => {
  const redis = await startRedis({ config: [['requirepass', 'hunter2']], password: 'hunter2' })
  const start = (url: string) =>
    runSshoal(['master', '--listen', '127.0.0.1:0', '--data', makeFolder(), '--redis', url])
  const wrong = await start(redis.url.replace('//', '//:wrongsecret@'))
  expect(wrong.status).toBe(1)
  expect(wrong.stderr).toMatch(/WRONGPASS/)
  const nonsense = await start('redis://:wrongsecret@h:x')
  expect(nonsense.status).toBe(2)
  await redis.cli('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
  const evicting = await start(redis.url.replace('//', '//:hunter2@'))
  expect(evicting.stderr).toMatch(/maxmemory-policy allkeys-lru.*noeviction/)
  for (const { stderr, stdout } of [wrong, nonsense, evicting])
    expect(stderr + stdout).not.toMatch(/wrongsecret|hunter2/)
})
