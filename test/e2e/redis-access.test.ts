// How a Redis is reached and which one is good enough: users, TLS, Sentinel, Cluster, eviction, replicas.
import { copyFileSync, rmSync, writeFileSync } from 'node:fs'
import { Writable } from 'node:stream'

import { type Log } from '@sshoal/shared'
import { pino } from 'pino'
import { expect, onTestFailed, test } from 'vitest'

import { parseRedisUrl, type RedisTlsFiles } from '../../packages/master/src/store/redis-address.ts'
import { openRedisStore } from '../../packages/master/src/store/redis-store.ts'
import { exportStore, importStore } from '../../packages/master/src/store/store-export.ts'
import type { Store } from '../../packages/master/src/store/store.ts'
import { atEnd, eventually, makeFolder, run, start } from '../kit/index.ts'
import { takePorts } from '../kit/port.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'
import { makeCertificate } from '../kit/tls.ts'

const ref = { kind: 'device', project: 'default', id: 'a' }
const claims = [{ index: 'mac', value: 'm' }]

/** A log and what was written to it. */
function recordingLog(): { log: Log; lines: string[] } {
  const lines: string[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  return { log: pino({ level: 'trace' }, stream), lines }
}

async function open(url: string, log: Log = recordingLog().log, tls: RedisTlsFiles = {}): Promise<Store> {
  const store = await openRedisStore({
    address: parseRedisUrl(url),
    prefix: 'sshoal',
    log,
    tls,
    folder: makeFolder(),
  })
  atEnd(() => store.close())
  return store
}

/** A bit of everything that a store does. */
async function tryOut(store: Store): Promise<void> {
  expect(await store.transact([{ type: 'put', ref, value: 1, claims }])).toEqual({ done: true })
  expect((await store.get(ref))?.value).toBe(1)
  expect(await store.find('device', { index: 'mac', value: 'm' })).toHaveLength(1)
  expect((await store.scan({ kind: 'device', limit: 9 })).records).toHaveLength(1)
  expect(await store.claims('device', 'mac')).toHaveLength(1)
  expect(await store.nextInvalidation()).toBeGreaterThan(0)
  const lines: string[] = []
  for await (const line of exportStore(store)) lines.push(line)
  expect(await importStore(store, lines, { replace: true })).toBe(1)
  expect(await store.transact([{ type: 'remove', ref }])).toEqual({ done: true })
}

test('a Redis that evicts keys is refused by name, one without a file is named in the log', async () => {
  const redis = await startRedis({ durable: false })
  for (const policy of ['allkeys-lru', 'volatile-ttl']) {
    await redis.cli('CONFIG', 'SET', 'maxmemory-policy', policy)
    await expect(open(redis.url)).rejects.toMatchObject({
      code: 'STORE_EVICTS',
      message: expect.stringMatching(`${policy}.*noeviction`),
    })
  }
  await redis.cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
  const { log, lines } = recordingLog()
  await open(redis.url, log)
  expect(lines.join('')).toMatch(/no append-only file/)
  await redis.cli('CONFIG', 'SET', 'appendonly', 'yes')
  const later = recordingLog()
  await open(redis.url, later.log)
  expect(later.lines.join('')).not.toMatch(/append-only/)
})

test('a Redis that is full refuses what would be written, keeps the rest, and takes more when there is room', async () => {
  const redis = await startRedis()
  const store = await open(redis.url)
  await store.transact([{ type: 'put', ref, value: 1, claims }])
  await redis.cli('CONFIG', 'SET', 'maxmemory', '1')
  const writing = store.transact([{ type: 'put', ref: { ...ref, id: 'b' }, value: 'x'.repeat(1_000) }])
  await expect(writing).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  expect((await store.get(ref))?.value).toBe(1)
  await redis.cli('CONFIG', 'SET', 'maxmemory', '0')
  await tryOut(store)
})

test('a user with the least rights is enough for the store, and a password is never shown', async () => {
  const redis = await startRedis({ config: [['requirepass', 'hunter2secret']], password: 'hunter2secret' })
  const rights = '~{sshoal}:* +@read +@write -@dangerous +@scripting +@connection +info +time +wait'.split(
    ' ',
  )
  await redis.cli('ACL', 'SETUSER', 'sshoal', 'on', '>p@ss/w%rd', ...rights)
  const at = (user: string) => redis.url.replace('//', `//${user}@`)
  const { log, lines } = recordingLog()
  await tryOut(await open(at('sshoal:p%40ss%2Fw%25rd'), log))
  await tryOut(await open(at(':hunter2secret'), log))
  const begin = performance.now()
  for (const user of ['sshoal:wrongsecret', 'nobody:wrongsecret', ':wrongsecret']) {
    const refused = await open(at(user), log).catch((error: unknown) => error as Error)
    expect(refused).toMatchObject({ code: 'STORE_REFUSED', message: expect.stringMatching(/WRONGPASS/) })
    lines.push(JSON.stringify(refused), String((refused as Error).stack))
  }
  await expect(open(redis.url, log)).rejects.toMatchObject({ code: 'STORE_REFUSED' })
  expect(performance.now() - begin).toBeLessThan(4_000)
  const outside = await redis.cli('ACL', 'SETUSER', 'other', 'on', '>pass', '~{other}:*', '+@all')
  expect(outside).toBe('OK')
  await expect(open(at('other:pass'), log)).rejects.toMatchObject({ code: 'STORE_REFUSED' })
  expect(lines.join('')).not.toMatch(/wrongsecret|hunter2|p@ss|p%40ss/)
})

test('TLS with an own authority, a client certificate and another name', async () => {
  const certificate = await makeCertificate(makeFolder(), ['DNS:redis.test'])
  const redis = await startRedis({ tls: certificate, config: [['tls-auth-clients', 'no']] })
  await expect(open(redis.url)).rejects.toMatchObject({
    code: 'STORE_REFUSED',
    message: expect.stringMatching(/self-signed/),
  })
  await expect(open(redis.url, undefined, { ca: certificate.path })).rejects.toMatchObject({
    code: 'STORE_REFUSED',
    message: expect.stringMatching(/does not match certificate/),
  })
  await tryOut(await open(redis.url, undefined, { ca: certificate.path, serverName: 'redis.test' }))
  await redis.cli('CONFIG', 'SET', 'tls-auth-clients', 'yes').catch(() => {})
  const { path, keyPath } = certificate
  const all = { ca: path, cert: path, key: keyPath, serverName: 'redis.test' }
  await tryOut(await open(redis.url, undefined, all))
  await expect(open(redis.url, undefined, { ca: path, serverName: 'redis.test' })).rejects.toMatchObject({
    code: 'STORE_REFUSED',
    message: expect.stringMatching(/certificate required/),
  })
  // A client that speaks without TLS to a port that has it.
  await expect(open(redis.url.replace('rediss', 'redis'))).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
  })
})

test('TLS files for Redis are read again by each new connection: certificates change while a master runs', async () => {
  const [mine, theirs] = [makeFolder(), makeFolder()]
  const before = await makeCertificate(mine)
  const server = await makeCertificate(theirs)
  for (const name of ['path', 'keyPath'] as const) copyFileSync(before[name], server[name])
  const redis = await startRedis({ tls: server, config: [['tls-auth-clients', 'yes']] })
  const store = await open(redis.url, undefined, { ca: before.path, cert: before.path, key: before.keyPath })
  await tryOut(store)
  // Redis first: what the store has read is worth nothing from here on.
  const after = await makeCertificate(makeFolder())
  for (const name of ['path', 'keyPath'] as const) copyFileSync(after[name], server[name])
  await redis.restart()
  await eventually(() => expect(store.get(ref)).rejects.toThrow(/certificate/))
  // A file that is away in the middle of it is no reason to fall.
  rmSync(before.path)
  await expect(store.get(ref)).rejects.toThrow()
  for (const name of ['path', 'keyPath'] as const) copyFileSync(after[name], before[name])
  await eventually(() => tryOut(store))
})

async function startReplica(of: RedisServer): Promise<RedisServer> {
  const replica = await startRedis({ config: [['replicaof', of.host, String(of.port)]] })
  await eventually(async () => (await replica.cli('INFO', 'replication')).includes('master_link_status:up'))
  return replica
}

test('what is taken away waits for the replicas, but not forever', async () => {
  const redis = await startRedis()
  const replica = await startReplica(redis)
  const { log, lines } = recordingLog()
  const store = await open(redis.url, log)
  const records = () => replica.cli('HLEN', '{sshoal}:records:device')
  await store.transact([{ type: 'put', ref, value: 1, claims }])
  await eventually(async () => (await records()) === '1')
  // As soon as it has asked Redis who follows.
  await eventually(async () => {
    await store.transact([{ type: 'put', ref, value: 1, claims }])
    expect(await store.transact([{ type: 'remove', ref }])).toEqual({ done: true })
    return redis.cli('EXISTS', '{sshoal}:waited').then((there) => there === '1')
  })
  expect(await records()).toBe('0')
  expect(lines.join('')).not.toMatch(/replica/)

  replica.signal('SIGSTOP')
  await store.transact([{ type: 'put', ref, value: 1, claims }])
  // Nothing else waits behind those that wait for the replica.
  const removing = [1, 2, 3].map(() =>
    store.transact([
      { type: 'remove', ref },
      { type: 'put', ref, value: 2 },
    ]),
  )
  const begin = performance.now()
  await store.get(ref)
  await store.transact([{ type: 'put', ref: { ...ref, id: 'b' }, value: 1 }])
  expect(performance.now() - begin).toBeLessThan(500)
  await Promise.all(removing)
  expect(await store.transact([{ type: 'remove', ref }])).toEqual({ done: true })
  expect(performance.now() - begin).toBeLessThan(4_000)
  expect(lines.join('')).toMatch(/a revocation has not reached every replica/)
  replica.signal('SIGCONT')
  await eventually(async () => (await records()) === '1')
})

test('Sentinel leads to the server, and to the next one when that dies', async () => {
  const redis = await startRedis()
  const replica = await startReplica(redis)
  const { first: port } = await takePorts(1)
  const config = `${makeFolder()}/sentinel.conf`
  writeFileSync(
    config,
    [
      `port ${port}`,
      'bind 127.0.0.1',
      `sentinel monitor main 127.0.0.1 ${redis.port} 1`,
      'sentinel down-after-milliseconds main 500',
      'sentinel failover-timeout main 1000',
    ].join('\n'),
  )
  const watcher = start('redis-server', [config, '--sentinel'])
  onTestFailed(() => void process.stderr.write(watcher.output))
  const sentinel = (...words: string[]) => run('redis-cli', ['-p', String(port), ...words])
  await eventually(async () =>
    (await sentinel('SENTINEL', 'replicas', 'main')).stdout.includes(String(replica.port)),
  )
  const store = await open(`redis+sentinel://127.0.0.1:${port}/main`)
  const { id } = store
  await tryOut(store)
  // So that no visit goes to any of them: who was named, who serves, who follows.
  const ports = () => new Set(store.places.map((place) => place.port))
  await eventually(() => expect(ports()).toEqual(new Set([port, redis.port, replica.port])))
  await store.transact([{ type: 'put', ref, value: 'before' }])
  await eventually(async () => (await replica.cli('HLEN', '{sshoal}:records:device')) === '1')
  await redis.kill()
  await eventually(
    async () => (await store.transact([{ type: 'put', ref, value: 'after', expect: 'present' }])).done,
    {
      // A busy machine puts Sentinel off (TILT), which lasts 30 s.
      within: 50_000,
    },
  )
  expect(store.id).toBe(id)
  expect((await store.get(ref))?.value).toBe('after')
  expect(store.state).toBe('ok')
  await eventually(() => expect(ports()).toEqual(new Set([port, replica.port])))
})

test('a Redis Cluster keeps the store in one slot, and follows it when the slot moves', async () => {
  const cluster = {
    config: [
      ['cluster-enabled', 'yes'],
      ['cluster-node-timeout', '2000'],
    ],
  }
  const nodes = await Promise.all([startRedis(cluster), startRedis(cluster), startRedis(cluster)])
  const addresses = nodes.map(({ host, port }) => `${host}:${port}`)
  const members = nodes.map(({ host, port }) => `${host}:${port}@${port + 1}`)
  const made = await run('redis-cli', ['--cluster', 'create', ...members, '--cluster-yes'])
  expect(made.stdout).toMatch(/All 16384 slots covered/)
  await eventually(
    async () => (await nodes[2]?.cli('CLUSTER', 'INFO'))?.includes('cluster_state:ok') ?? false,
  )
  const store = await open(`redis+cluster://${addresses[1]},${addresses[0]}`)
  const ports = new Set(nodes.map((node) => node.port))
  await eventually(() => expect(new Set(store.places.map((place) => place.port))).toEqual(ports))
  const { id } = store
  await tryOut(store)
  await store.transact([{ type: 'put', ref, value: 1, claims }])

  const slot = (await nodes[0]?.cli('CLUSTER', 'KEYSLOT', '{sshoal}:meta')) ?? ''
  const ids = await Promise.all(nodes.map((node) => node.cli('CLUSTER', 'MYID')))
  const counts = await Promise.all(nodes.map((node) => node.cli('CLUSTER', 'COUNTKEYSINSLOT', slot)))
  const from = counts.findIndex((count) => count !== '0')
  const to = (from + 1) % 3
  const [source, target] = [nodes[from], nodes[to]]
  if (!source || !target) throw new Error('no node has the keys')
  expect(counts.filter((count) => count !== '0')).toHaveLength(1)
  await target.cli('CLUSTER', 'SETSLOT', slot, 'IMPORTING', ids[from] ?? '')
  await source.cli('CLUSTER', 'SETSLOT', slot, 'MIGRATING', ids[to] ?? '')
  const keys = (await source.cli('CLUSTER', 'GETKEYSINSLOT', slot, '100')).split('\n')
  await source.cli('MIGRATE', target.host, String(target.port), '', '0', '5000', 'KEYS', ...keys)
  for (const node of nodes) await node.cli('CLUSTER', 'SETSLOT', slot, 'NODE', ids[to] ?? '')

  // Who asks while another question makes the first connection there is refused.
  await eventually(async () => expect((await store.get(ref))?.value).toBe(1))
  await tryOut(store)
  expect(store.id).toBe(id)
  expect(await target.cli('CLUSTER', 'COUNTKEYSINSLOT', slot)).not.toBe('0')

  // The node that has it dies: refused within 2 s.
  await target.kill()
  const begin = performance.now()
  await expect(store.get(ref)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  expect(performance.now() - begin).toBeLessThan(2_000)
  await target.restart()
  await eventually(async () => (await store.get(ref)) === undefined, { within: 30_000 })
  expect(store.id).toBe(id)
})
