// The feed over a real Redis: what every feed promises, and over a Redis Cluster of three nodes what two masters need.
import { randomUUID } from 'node:crypto'

import { silentLog } from '@sshoal/shared'
import { beforeAll, describe, expect, test } from 'vitest'

import { RedisFeed } from '../../packages/master/src/cluster/feed/redis-feed.ts'
import { parseRedisUrl } from '../../packages/master/src/store/redis-address.ts'
import { makeRedisClient } from '../../packages/master/src/store/redis-connection.ts'
import { factsOf, feedSuite, listen } from '../../packages/master/test/cluster/feed-suite.ts'
import { eventually, makeFolder, run, takePorts } from '../kit/index.ts'
import { start } from '../kit/process.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis({ durable: false })
})

function makeFeed(url: string, prefix: string, id: string = randomUUID()): RedisFeed {
  return new RedisFeed({
    master: { id, version: '1' },
    prefix,
    connect: () => makeRedisClient({ address: parseRedisUrl(url) }),
    log: silentLog(),
  })
}

describe('the feed over Redis', () => feedSuite(() => makeFeed(redis.url, `t${randomUUID()}`)))

test('a Redis that forgot all scripts is told them again', async () => {
  const feed = makeFeed(redis.url, 'scripts')
  await feed.start(listen().listener)
  await redis.cli('SCRIPT', 'FLUSH')
  const candidates = [{ id: 'a', tunnels: 0, capacity: 10 }]
  expect(await feed.reserve('', () => candidates)).toBe('a')
  expect(feed.away).toBe(false)
  await feed.close()
})

test('slots that were asked of a Redis that stood still are not reserved when it goes on', async () => {
  const feed = makeFeed(redis.url, 'late')
  const heard = listen()
  const other = makeFeed(redis.url, 'late')
  await feed.start(listen().listener)
  await other.start(heard.listener)
  redis.signal('SIGSTOP')
  const asked = feed.reserve('', () => [{ id: 'a', tunnels: 0, capacity: 10 }])
  expect(await asked).toBeUndefined()
  redis.signal('SIGCONT')
  await eventually(() => !feed.away && !other.away)
  expect(await redis.cli('EXISTS', '{late}:live:slots:a')).toBe('0')
  expect(heard.changes).toEqual([])
  expect(await feed.reserve('', () => [{ id: 'a', tunnels: 0, capacity: 10 }])).toBe('a')
  expect(await redis.cli('ZCARD', '{late}:live:slots:a')).toBe('1')
  await Promise.all([feed.close(), other.close()])
})

test('two masters on a Redis Cluster of three nodes hear each other, share slots and ask each other', async () => {
  const { first } = await takePorts(6)
  const ports = [first, first + 1, first + 2]
  for (const port of ports) {
    const args = [
      '--port',
      port,
      '--cluster-enabled',
      'yes',
      '--cluster-port',
      port + ports.length,
      '--bind',
      '127.0.0.1',
    ]
    const node = start('redis-server', [...args.map(String), '--save', '', '--dir', makeFolder()])
    await node.waitForOutput(/Ready to accept connections/)
  }
  const addresses = ports.map((port) => `127.0.0.1:${port}`)
  const made = await run('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-yes'])
  expect(made.stdout).toContain('All 16384 slots covered')
  const url = `redis+cluster://${addresses.join()}`
  const [one, two] = [makeFeed(url, 'sshoal', 'm1'), makeFeed(url, 'sshoal', 'm2')]
  const heard = listen()
  await eventually(() => one.start(listen().listener), { within: 20_000, every: 500 })
  await two.start({
    ...heard.listener,
    onRequest: (_slave, _type, question) => Promise.resolve({ alive: true, question }),
  })
  const facts = factsOf('s1', one.nowMicros())
  one.publish({ type: 'joining', slave: 's1', link: 'l1', facts })
  one.publish({ type: 'synced', slave: 's1', link: 'l1' })
  await eventually(() => expect(heard.changes.map(({ type }) => type)).toEqual(['joining', 'synced']))
  const candidates = ['s1', 's2'].map((id) => ({ id, tunnels: 0, capacity: 10 }))
  const chosen = await Promise.all(
    [one, two, one, two].map(async (feed) => feed.reserve('', () => candidates)),
  )
  expect(chosen.filter((id) => id === 's1')).toHaveLength(2)
  expect(chosen.filter((id) => id === 's2')).toHaveLength(2)
  const question = { project: 'default', device: 'd' }
  expect(await one.request('m2', 's2', 'probe', question, 2_000)).toMatchObject({ alive: true })
  await expect(one.request('nobody', 's2', 'probe', question, 500)).rejects.toMatchObject({
    code: 'LINK_DEADLINE',
  })
  const three = makeFeed(url, 'sshoal', 'm3')
  const later = listen()
  await three.start(later.listener)
  expect(later.snapshots[0]?.slaves.map(({ slave, synced }) => `${slave} ${synced}`)).toEqual(['s1 true'])
  await Promise.all([one, two, three].map((feed) => feed.close()))
}, 60_000)
