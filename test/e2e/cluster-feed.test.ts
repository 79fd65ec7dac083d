// Several masters' live views over a real Redis, in one process: what one hears, all show.
import { randomUUID } from 'node:crypto'

import type { Hello, Tunnel } from '@sshoal/shared'
import { silentLog } from '@sshoal/shared'
import { expect, test } from 'vitest'

import { RedisFeed } from '../../packages/master/src/cluster/feed/redis-feed.ts'
import { LiveCluster } from '../../packages/master/src/cluster/live-cluster.ts'
import { SlaveRecord } from '../../packages/master/src/cluster/slave-record.ts'
import { parseRedisUrl } from '../../packages/master/src/store/redis-address.ts'
import { makeRedisClient } from '../../packages/master/src/store/redis-connection.ts'
import { factsOf } from '../../packages/master/test/cluster/feed-suite.ts'
import { atEnd } from '../kit/ending.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'
import { eventually } from '../kit/wait.ts'

async function startView(redis: RedisServer, id: string): Promise<LiveCluster> {
  const log = silentLog()
  const feed = new RedisFeed({
    master: { id, version: '1' },
    prefix: 'sshoal',
    connect: () => makeRedisClient({ address: parseRedisUrl(redis.url) }),
    log,
  })
  let number = 0
  const cluster = new LiveCluster({
    master: { id, version: '1' },
    slaveGraceMs: 1_000,
    regionFallback: new Map(),
    publish: () => {},
    saw: () => {},
    refused: () => {},
    announce: () => {},
    revoked: () => {},
    ask: () => Promise.resolve({ outcome: 'outage', reason: 'no hook' }),
    fixedPorts: () => Promise.resolve([]),
    store: {
      id: 's',
      state: 'ok',
      nextInvalidation: () => Promise.resolve(++number),
      lastInvalidation: () => Promise.resolve(number),
    },
    feed,
    lastInvalidation: 0,
    log,
  })
  await cluster.start()
  atEnd(async () => {
    cluster.close()
    await feed.close()
  })
  return cluster
}

const hello = (id: string): Hello => ({
  ...factsOf(id).hello,
  instance: randomUUID(),
  publicHost: `${id}.example`,
})

/** A link that answers every request as a slave would that has nothing to say. */
const wire = {
  request: () => Promise.resolve({ cut: true, contested: false, alive: true, tunnels: 0 }),
  send() {},
  close() {},
}

function link(cluster: LiveCluster, id: string, tunnels: Tunnel[] = [], since?: number): SlaveRecord {
  const known = cluster.roster.slave(id)
  const slave = known ?? new SlaveRecord(hello(id), randomUUID(), wire as never, '127.0.0.1')
  if (known) known.relink(hello(id), randomUUID(), wire as never, '127.0.0.1')
  cluster.roster.joining(slave, since)
  for (const tunnel of tunnels) cluster.live.up(slave, tunnel, { announced: true })
  cluster.roster.joined(slave)
  return slave
}

function tunnel(device: string, epoch: number): Tunnel {
  return {
    project: 'default',
    device,
    epoch,
    fingerprint: 'SHA256:x',
    remoteAddress: '192.0.2.1',
    connectedAt: 1,
    forwards: [{ kind: 'bound', bindAddress: '', bindPort: 0, port: 20_001 }],
  }
}

const shown = (cluster: LiveCluster) =>
  cluster.tunnels({ limit: 100 }).tunnels.map(({ device, slave, epoch }) => `${device} ${slave} ${epoch}`)

test('two masters show the same slaves and tunnels, whichever the slave is linked to', async () => {
  const redis = await startRedis()
  const [one, two] = [await startView(redis, 'm1'), await startView(redis, 'm2')]
  const slave = link(one, 's1', [tunnel('a', 1_795_311_966_819_001)])
  link(two, 's2')
  await eventually(() => expect(shown(two)).toEqual(['a s1 1795311966819001']))
  await eventually(() =>
    expect(one.view().slaves.map(({ id, state }) => `${id} ${state}`)).toEqual(['s1 ready', 's2 ready']),
  )
  one.live.up(slave, tunnel('b', 1_795_311_966_819_002), { announced: false })
  await eventually(() => expect(shown(two).sort()).toEqual(shown(one).sort()))
  one.live.down(slave, tunnel('a', 1), 1_795_311_966_819_001, 'gone')
  await eventually(() => expect(shown(two)).toEqual(['b s1 1795311966819002']))
  expect(two.view().totals).toEqual(one.view().totals)
  await eventually(() => expect(one.view().masters.map(({ id }) => id)).toEqual(['m1', 'm2']))
  expect(await two.kick({ project: 'default', device: 'b' }, 'test')).toBe(true)
})

test('a master that comes later, or missed a stretch, reads the whole', async () => {
  const redis = await startRedis()
  const one = await startView(redis, 'm1')
  link(one, 's1', [tunnel('a', 5), tunnel('b', 6)])
  const two = await startView(redis, 'm2')
  await eventually(() => expect(shown(two).sort()).toEqual(['a s1 5', 'b s1 6']))
})

test('200 slots asked at once of two masters over four slaves differ by at most one per slave', async () => {
  const redis = await startRedis()
  const [one, two] = [await startView(redis, 'm1'), await startView(redis, 'm2')]
  for (const id of ['s1', 's2']) link(one, id)
  for (const id of ['s3', 's4']) link(two, id)
  await eventually(() => expect([one.view().totals.slaves, two.view().totals.slaves]).toEqual([4, 4]))
  const slots = await Promise.all(
    Array.from({ length: 200 }, async (_, n) => (n % 2 === 0 ? one : two).slot({})),
  )
  const counts = new Map<string, number>()
  for (const slot of slots) counts.set(slot?.slave ?? 'none', (counts.get(slot?.slave ?? 'none') ?? 0) + 1)
  expect([...counts.values()]).toEqual([50, 50, 50, 50])
  await eventually(() => expect([one, two].map((view) => view.view().totals.reserved)).toEqual([200, 200]))
  await eventually(() => expect([one, two].map((view) => view.view().totals.reserved)).toEqual([0, 0]))
})

test('a slave that moves to another master keeps its tunnels, and its old master drops nothing', async () => {
  const redis = await startRedis()
  const [one, two] = [await startView(redis, 'm1'), await startView(redis, 'm2')]
  const before = link(one, 's1', [tunnel('a', 5)])
  await eventually(() => expect(shown(two)).toEqual(['a s1 5']))
  const oldLink = before.link
  link(two, 's1', [tunnel('a', 5), tunnel('b', 6)])
  await eventually(() => expect(shown(one).sort()).toEqual(['a s1 5', 'b s1 6']))
  one.roster.left(before, oldLink, undefined)
  expect(one.view().slaves[0]?.state).toBe('ready')
})

test('while Redis is away the view goes on from memory, and heals when it is back without its data', async () => {
  const redis = await startRedis({ durable: false })
  const [one, two] = [await startView(redis, 'm1'), await startView(redis, 'm2')]
  const slave = link(one, 's1', [tunnel('a', 5)])
  await eventually(() => expect(shown(two)).toEqual(['a s1 5']))
  redis.process.signal('SIGKILL')
  await redis.process.exited
  one.live.up(slave, tunnel('b', 6), { announced: false })
  expect(shown(one).sort()).toEqual(['a s1 5', 'b s1 6'])
  expect((await one.slot({}))?.slave).toBe('s1')
  expect(shown(two)).toEqual(['a s1 5'])
  await redis.restart()
  await eventually(() => expect(shown(two).sort()).toEqual(['a s1 5', 'b s1 6']), { within: 15_000 })
  expect(shown(one).sort()).toEqual(['a s1 5', 'b s1 6'])
})

test('a slave whose master fell silent is swept by another', async () => {
  const redis = await startRedis()
  const two = await startView(redis, 'm2')
  const feed = new RedisFeed({
    master: { id: 'm1', version: '1' },
    prefix: 'sshoal',
    connect: () => makeRedisClient({ address: parseRedisUrl(redis.url) }),
    log: silentLog(),
  })
  await feed.start({
    onChange() {},
    onSnapshot() {},
    holdings: () => [],
    onSilent() {},
    onRequest: () => Promise.reject(new Error('none')),
  })
  const facts = {
    hello: hello('s1'),
    seenAddress: '127.0.0.1',
    state: 'ready' as const,
    registeredAt: 1,
    since: feed.nowMicros(),
  }
  feed.publish({ type: 'joining', slave: 's1', link: 'l1', facts })
  feed.publish({ type: 'up', slave: 's1', link: 'l1', tunnel: tunnel('a', 5), arrived: false })
  feed.publish({ type: 'synced', slave: 's1', link: 'l1' })
  await eventually(() => expect(shown(two)).toEqual(['a s1 5']))
  await feed.close()
  await eventually(() => expect(shown(two)).toEqual([]), { within: 30_000 })
  expect(two.view().slaves).toEqual([])
})

test('a tunnel whose device moved to a slave of another master leaves no trace that comes up again later', async () => {
  const redis = await startRedis()
  const [one, two] = [await startView(redis, 'm1'), await startView(redis, 'm2')]
  const first = link(one, 's1', [tunnel('a', 5)])
  const second = link(two, 's2')
  await eventually(() => expect(shown(two)).toEqual(['a s1 5']))
  two.live.up(second, tunnel('a', 6), { announced: false })
  await eventually(() => expect(shown(one)).toEqual(['a s2 6']))
  // The slave lets go, as it was told, and later the device leaves for good.
  one.live.down(first, tunnel('a', 5), 5, 'took over')
  two.live.down(second, tunnel('a', 6), 6, 'left')
  await eventually(() => expect(shown(one)).toEqual([]))
  const three = await startView(redis, 'm3')
  expect(shown(three)).toEqual([])
})

test('a slave that leaves another master before it had joined leaves no tunnel behind', async () => {
  const redis = await startRedis()
  const [one, two] = [await startView(redis, 'm1'), await startView(redis, 'm2')]
  const slave = new SlaveRecord(hello('s1'), randomUUID(), wire as never, '127.0.0.1')
  one.roster.joining(slave)
  one.live.up(slave, tunnel('a', 5), { announced: true })
  await eventually(() => expect(shown(two)).toEqual(['a s1 5']))
  one.roster.left(slave, slave.link, undefined)
  await eventually(() => expect(shown(two)).toEqual([]))
  expect(shown(one)).toEqual([])
})

test('a link that was challenged before another, and answers after it, does not speak for the slave', async () => {
  const redis = await startRedis()
  const [one, two] = [await startView(redis, 'm1'), await startView(redis, 'm2')]
  // The first master stands still between its challenge and the answer that waits in its socket.
  const challenged = one.roster.nextSince()
  link(two, 's1', [tunnel('a', 5), tunnel('b', 6)], challenged + 10_000_000)
  const late = new SlaveRecord(hello('s1'), randomUUID(), wire as never, '127.0.0.1')
  one.roster.joining(late, challenged)
  one.live.up(late, tunnel('a', 5), { announced: true })
  one.roster.joined(late)
  await eventually(() => expect(shown(one).sort()).toEqual(['a s1 5', 'b s1 6']))
  expect(late.wire).toBeUndefined()
  one.roster.left(late, late.link, undefined)
  expect(shown(two).sort()).toEqual(['a s1 5', 'b s1 6'])
  expect(two.roster.slave('s1')?.wire).toBeDefined()
})

test('a slave of 18,000 tunnels is said again bit by bit, while others go on', async () => {
  const redis = await startRedis({ durable: false })
  const [one, two] = [await startView(redis, 'm1'), await startView(redis, 'm2')]
  const many = Array.from({ length: 18_000 }, (_, n) => tunnel(`d${n}`, n + 1))
  const slave = link(one, 's1', many)
  await eventually(() => expect(two.view().totals.tunnels).toBe(18_000), { within: 20_000 })
  await redis.restart({ empty: true })
  await eventually(() => expect(two.view().masters).toHaveLength(2), { within: 15_000 })
  for (let n = 0; n < 20; n++) one.live.up(slave, tunnel(`new${n}`, 20_000 + n), { announced: false })
  for (let n = 0; n < 20; n++) one.live.down(slave, tunnel(`d${n}`, n + 1), n + 1, 'left')
  await eventually(() => expect(two.tunnels({ device: 'new19', limit: 1 }).tunnels).toHaveLength(1), {
    within: 20_000,
  })
  await eventually(async () => expect(await redis.cli('HLEN', '{sshoal}:live:tunnels:s1')).toBe('18000'), {
    within: 20_000,
  })
  expect(two.view().totals.tunnels).toBe(18_000)
  const three = await startView(redis, 'm3')
  expect(three.view().totals.tunnels).toBe(18_000)
})

test('a master that missed more than the stream keeps reads the whole', async () => {
  const redis = await startRedis()
  const [one, two] = [await startView(redis, 'm1'), await startView(redis, 'm2')]
  const slave = link(one, 's1', [tunnel('a', 5)])
  await eventually(() => expect(shown(two)).toEqual(['a s1 5']))
  // What two has not read yet goes away in the same step in which it comes.
  await redis.cli(
    'EVAL',
    "redis.call('INCRBY', KEYS[1] .. 'seq', 1000) redis.call('XTRIM', KEYS[1] .. 'stream', 'MAXLEN', 0) return 1",
    '1',
    '{sshoal}:live:',
  )
  one.live.up(slave, tunnel('b', 6), { announced: false })
  await eventually(() => expect(shown(two)).toContain('b s1 6'))
  expect(shown(one).sort()).toEqual(['a s1 5', 'b s1 6'])
})
