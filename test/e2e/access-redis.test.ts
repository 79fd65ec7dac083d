// People, pools, grants and the audit on a real Redis, with two masters: what one has changed counts at the other at once.
import { randomUUID } from 'node:crypto'

import { beforeAll, expect, test } from 'vitest'

import { tunnelView } from '../../packages/master/test/fake-cluster.ts'
import { fingerprint, keyLine } from '../../packages/master/test/key-lines.ts'
import { startAccessRooms } from '../kit/access.ts'
import { startRedis, type RedisServer } from '../kit/redis.ts'

const BY = { token: 't-1', label: 'admin' }
let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})

const startMaster = (prefix: string, more: { auditKeep?: number } = {}) =>
  startAccessRooms({ redisUrl: redis.url, prefix, ...more })

test('G065 P068 P074: what one master takes away the other refuses at the next question', async () => {
  const prefix = randomUUID()
  const [one, two] = [await startMaster(prefix), await startMaster(prefix)]
  for (const id of ['pump-1', 'pump-2']) {
    await one.registry.create('default', { id })
    two.cluster.live.push(tunnelView(id))
  }
  for (const name of ['a', 'b']) await one.access.pools.create('default', { name, members: ['pump-1'] }, BY)
  await two.access.pools.create('default', { name: 'eu', selector: { region: 'eu' } }, BY)
  const wanted = { email: 'ann@example.com', keys: [keyLine(1)], pools: ['a', 'b'] }
  const ann = await one.access.users.create('default', wanted, BY)
  expect(await two.outcome(ann.id, 'PUMP-1')).toBe('granted')
  await one.access.pools.removeMember('default', 'a', 'pump-1', BY)
  expect(await two.outcome(ann.id, 'pump-1')).toBe('granted')
  await one.access.pools.remove('default', 'b', BY)
  expect(await two.outcome(ann.id, 'pump-1')).toBe('UNKNOWN_TARGET')
  const grant = await one.access.grants.create('default', { user: 'ann', pool: 'eu' }, BY)
  expect(await two.outcome(ann.id, 'pump-2')).toBe('granted')
  expect((await two.access.desk.reach({ project: 'default', user: ann.id, limit: 9 }, 'eu-1')).total).toBe(2)
  await one.access.grants.remove('default', grant.id, BY)
  expect(await two.outcome(ann.id, 'pump-2')).toBe('UNKNOWN_TARGET')
  await one.access.grants.create('default', { user: 'ann', target: 'pump-1' }, BY)
  await one.access.users.removeKey('default', 'ann', fingerprint(1), BY)
  expect(await two.outcome(ann.id, 'pump-1')).toBe('KEY_REMOVED')
  await one.access.users.remove('default', 'ann', BY)
  for (const kind of ['user', 'grant', 'grant-on'])
    expect((await two.store.scan({ kind, limit: 10 })).records).toEqual([])
})

test('two masters at once let one of two have a login, a key, a name, and make of one device one target', async () => {
  const prefix = randomUUID()
  const masters = [await startMaster(prefix), await startMaster(prefix)]
  const outcomes = async (make: (n: number) => Promise<unknown>): Promise<string[]> =>
    (
      await Promise.all(
        Array.from({ length: 8 }, (_, n) =>
          make(n).then(
            () => 'made',
            (error: { code: string }) => error.code,
          ),
        ),
      )
    ).sort()
  const of = (n: number) => {
    const master = masters[n % 2]
    if (!master) throw new Error('there are two')
    return master
  }
  const users = (n: number) =>
    of(n).access.users.create('default', { email: `u${n}@example.com`, login: 'ann' }, BY)
  expect((await outcomes(users)).filter((text) => text === 'made')).toHaveLength(1)
  const pools = (n: number) => of(n).access.pools.create('default', { name: 'a' }, BY)
  expect(await outcomes(pools)).toEqual([...Array<string>(7).fill('POOL_TAKEN'), 'made'])
  const devices = (n: number) => of(n).registry.create('default', { id: n < 4 ? 'pump' : 'PUMP' })
  expect((await outcomes(devices)).filter((text) => text === 'made')).toHaveLength(2)
  const { records } = await of(0).access.targets.list('default', { limit: 10 })
  expect(records.map(({ kind }) => kind)).toEqual(['device', 'device'])
})

test('the audit is newest first, is kept within its limit, and shows every project that there is', async () => {
  const { access } = await startMaster(randomUUID(), { auditKeep: 3 })
  for (let n = 0; n < 5; n++)
    for (const project of ['acme', 'default'])
      await access.users.create(project, { email: `u${n}@example.com` }, BY)
  await access.sweepAudit()
  for (const project of ['acme', 'default']) {
    const { records } = await access.audit.list(project, { limit: 10 })
    expect(records).toHaveLength(3)
    expect(records.map(({ at }) => at)).toEqual(records.map(({ at }) => at).sort((a, b) => b - a))
  }
  expect((await access.projects.list()).map(({ id }) => id)).toEqual(['acme', 'default'])
})
