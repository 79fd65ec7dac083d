import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { gateSlave, online, outcome, person, visit, type Parts } from '../access/fixture.ts'
import { fingerprint } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'

let parts: Parts
let ann: { id: string }

beforeEach(async () => {
  parts = await startParts()
  parts.gateSlaves.set('eu-1', gateSlave('eu-1', { region: 'eu' }))
  ann = await person(parts, 'ann', 1)
  for (const device of ['pump-1', 'pump-2', 'door-1']) await online(parts, device)
})
afterEach(() => parts.close())

const reaches = (target: string) => outcome(parts, ann, 1, target)
const namesOf = async (query: string): Promise<string[]> =>
  (await parts.call('GET', `/targets?${query}`)).body.targets.map(({ name }: { name: string }) => name)

describe('/pools', () => {
  test('P072 P080: is made with a title, members and the people who may reach it', async () => {
    const made = await parts.call('POST', '/pools', {
      name: 'Pumps',
      title: 'All pumps',
      members: ['pump-1', 'PUMP-2', 'pump-1'],
      users: ['ann'],
    })
    expect(made).toMatchObject({
      status: 201,
      body: { name: 'pumps', title: 'All pumps', members: ['pump-1', 'pump-2'], more: false, selector: null },
    })
    expect((await parts.call('GET', '/pools/PUMPS')).body).toEqual(made.body)
    expect(await reaches('pump-2')).toBe('granted')
    expect(await reaches('door-1')).toBe('UNKNOWN_TARGET')
    expect((await parts.call('POST', '/pools', { name: 'pumps' })).body.code).toBe('POOL_TAKEN')
  })

  test('P096 G061: nothing is made of a member or a person that is not there', async () => {
    for (const body of [
      { name: 'a', members: ['pump-1', 'pump-9'] },
      { name: 'a', users: ['nobody'] },
    ])
      expect((await parts.call('POST', '/pools', body)).status).toBe(404)
    expect((await parts.call('GET', '/pools')).body.pools).toEqual([])
    expect((await parts.store.scan({ kind: 'member', limit: 10 })).records).toEqual([])
    expect((await parts.call('GET', '/pools/a')).body.code).toBe('UNKNOWN_POOL')
  })

  test('P073 P074 P099: members come and go, in several pools at once; who loses one is asked about again', async () => {
    for (const name of ['a', 'b']) {
      await parts.call('POST', '/pools', { name, members: ['pump-1'] })
      await parts.call('POST', '/grants', { user: 'ann', pool: name })
    }
    expect(await reaches('door-1')).toBe('UNKNOWN_TARGET')
    expect((await parts.call('POST', '/pools/a/members', { target: 'door-1' })).body.members).toEqual([
      'door-1',
      'pump-1',
    ])
    expect(await reaches('door-1')).toBe('granted')
    parts.cluster.invalidated = []
    expect((await parts.call('DELETE', '/pools/a/members/door-1')).body).toEqual({ cut: 0 })
    expect(parts.cluster.invalidated).toEqual([[fingerprint(1)]])
    expect(await reaches('door-1')).toBe('UNKNOWN_TARGET')
    expect((await parts.call('DELETE', '/pools/a/members/door-1')).body.code).toBe('UNKNOWN_MEMBER')
    expect((await parts.call('DELETE', '/pools/a/members/door-9')).body.code).toBe('UNKNOWN_TARGET')
    // P068: by the other pool it is still reached.
    await parts.call('DELETE', '/pools/a/members/pump-1')
    expect(await reaches('pump-1')).toBe('granted')
    await parts.call('DELETE', '/pools/b/members/pump-1')
    expect(await reaches('pump-1')).toBe('UNKNOWN_TARGET')
  })

  test('P068: of two grants that allow a thing one may go', async () => {
    await parts.call('POST', '/pools', { name: 'a', members: ['pump-1'], users: ['ann'] })
    const { id } = (await parts.call('POST', '/grants', { user: 'ann', target: 'pump-1' })).body
    await parts.call('DELETE', `/grants/${id}`)
    expect(await reaches('pump-1')).toBe('granted')
  })

  test('P075: a pool that is removed takes its grants along, and its next namesake has none of them', async () => {
    await parts.call('POST', '/pools', { name: 'a', members: ['pump-1', 'pump-2'], users: ['ann'] })
    parts.cluster.invalidated = []
    expect((await parts.call('DELETE', '/pools/a')).status).toBe(200)
    expect(parts.cluster.invalidated).toEqual([[fingerprint(1)]])
    expect(await reaches('pump-1')).toBe('UNKNOWN_TARGET')
    expect((await parts.call('DELETE', '/pools/a')).status).toBe(404)
    expect((await parts.call('GET', '/grants')).body.grants).toEqual([])
    expect((await parts.store.scan({ kind: 'member', limit: 10 })).records).toEqual([])
    await parts.call('POST', '/pools', { name: 'a', members: ['pump-1'] })
    expect(await reaches('pump-1')).toBe('UNKNOWN_TARGET')
    expect((await parts.call('GET', '/pools/a')).body.members).toEqual(['pump-1'])
  })

  test('P082: a selector has whatever fits it, now and later, without a list', async () => {
    await parts.call('POST', '/pools', { name: 'wet', selector: { region: 'eu', details: { name: 'pump' } } })
    await parts.call('POST', '/grants', { user: 'ann', pool: 'wet' })
    // The slave is of region eu, and the hook says the name of each.
    expect(await reaches('pump-1')).toBe('granted')
    expect(await namesOf('pool=wet')).toEqual(['door-1', 'pump-1', 'pump-2'])
    await online(parts, 'pump-3')
    expect(await reaches('pump-3')).toBe('granted')
    parts.cluster.invalidated = []
    await parts.call('PATCH', '/devices/pump-3', { region: 'us' })
    expect(parts.cluster.invalidated).toContainEqual([fingerprint(1)])
    expect(await reaches('pump-3')).toBe('UNKNOWN_TARGET')
    parts.cluster.invalidated = []
    const changed = await parts.call('PATCH', '/pools/wet', { selector: { region: 'us' } })
    expect(changed.body.selector).toEqual({ region: 'us' })
    expect(parts.cluster.invalidated).toEqual([[fingerprint(1)]])
    expect(await namesOf('pool=wet')).toEqual(['pump-3'])
    expect((await parts.call('PATCH', '/pools/wet', { selector: {} })).body.code).toBe('INVALID_SELECTOR')
    expect((await parts.call('PATCH', '/pools/wet', { selector: null })).body.selector).toBeNull()
    expect(await reaches('pump-3')).toBe('UNKNOWN_TARGET')
  })

  test('a device that is away is selected by what it was when it was there, and is told to be offline', async () => {
    parts.registry.seen('default', 'pump-1', {
      where: 'x',
      why: 'left',
      region: 'eu',
      details: { model: 'x2' },
    })
    parts.registry.seen('default', 'pump-1', { where: 'y', why: 'refused' })
    parts.cluster.live = []
    await parts.registry.flush()
    parts.registry.seen('default', 'pump-1', { where: 'z', why: 'refused again' })
    await parts.registry.flush()
    await parts.call('POST', '/pools', { name: 'x2', selector: { region: 'eu', details: { model: 'x2' } } })
    await parts.call('POST', '/grants', { user: 'ann', pool: 'x2' })
    expect(await reaches('pump-1')).toBe('TARGET_OFFLINE')
    expect(await reaches('pump-2')).toBe('UNKNOWN_TARGET')
  })

  test('a visit reads as many records whether a selector has three devices or three hundred', async () => {
    await parts.call('POST', '/pools', {
      name: 'all',
      selector: { details: { name: 'pump' } },
      users: ['ann'],
    })
    const readsOf = async (): Promise<number> => {
      let reads = 0
      const { store } = parts
      const { get, find, scan } = store
      const counted = <A extends unknown[], R>(call: (...args: A) => Promise<R>) => {
        return async (...args: A): Promise<R> => {
          reads++
          const found = await call.apply(store, args)
          if (found !== null && typeof found === 'object' && 'records' in found)
            reads += (found.records as unknown[]).length
          return found
        }
      }
      Object.assign(store, { get: counted(get), find: counted(find), scan: counted(scan) })
      try {
        expect(await reaches('pump-1')).toBe('granted')
      } finally {
        Object.assign(store, { get, find, scan })
      }
      return reads
    }
    const before = await readsOf()
    for (let n = 0; n < 300; n++) await online(parts, `more-${n}`)
    expect(await readsOf()).toBe(before)
    expect(before).toBeLessThan(15)
  })
})

describe('/grants', () => {
  test('P096: is on a pool or on a target that is there, for somebody who is there', async () => {
    const codes = async (body: object) => (await parts.call('POST', '/grants', body)).body.code
    expect(await codes({ user: 'ann' })).toBe('INVALID_GRANT')
    expect(await codes({ user: 'ann', pool: 'a', target: 'pump-1' })).toBe('INVALID_GRANT')
    expect(await codes({ user: 'ann', pool: 'a' })).toBe('UNKNOWN_POOL')
    expect(await codes({ user: 'ann', target: 'pump-9' })).toBe('UNKNOWN_TARGET')
    expect(await codes({ user: 'bob', target: 'pump-1' })).toBe('UNKNOWN_USER')
    expect((await parts.call('GET', '/grants')).body.grants).toEqual([])
  })

  test('G046: is shown, listed by person, pool and target, changed, and removed', async () => {
    await parts.call('POST', '/pools', { name: 'a' })
    const made = (await parts.call('POST', '/grants', { user: 'ann', pool: 'a' })).body
    expect(made).toMatchObject({ login: 'ann', pool: 'a', target: null, forwards: ['22'], until: null })
    const direct = (await parts.call('POST', '/grants', { user: ann.id, target: 'pump-1', account: 'root' }))
      .body
    expect((await parts.call('POST', '/grants', { user: 'ann', pool: 'a' })).body).toMatchObject({
      code: 'GRANT_EXISTS',
      details: { grant: made.id },
    })
    const ids = async (query: string) =>
      (await parts.call('GET', `/grants?${query}`)).body.grants.map(({ id }: { id: string }) => id)
    expect(await ids('pool=a')).toEqual([made.id])
    expect(await ids('target=pump-1')).toEqual([direct.id])
    expect(await ids('user=ann&target=pump-1')).toEqual([direct.id])
    expect((await ids('user=ann')).sort()).toEqual(
      [made.id, direct.id].toSorted((a: string, b: string) => (a < b ? -1 : 1)),
    )
    expect((await ids('')).sort()).toEqual(
      [made.id, direct.id].toSorted((a: string, b: string) => (a < b ? -1 : 1)),
    )
    const until = new Date(parts.clock.now + 60_000).toISOString()
    parts.cluster.invalidated = []
    const changed = await parts.call('PATCH', `/grants/${made.id}`, {
      until,
      forwards: ['web'],
      account: 'pi',
    })
    expect(changed.body).toMatchObject({ until, forwards: ['web'], account: 'pi' })
    expect(parts.cluster.invalidated).toEqual([[fingerprint(1)]])
    expect((await parts.call('PATCH', `/grants/${made.id}`, { until: null })).body.until).toBeNull()
    expect((await parts.call('GET', `/grants/${made.id}`)).body.forwards).toEqual(['web'])
    expect((await parts.call('DELETE', `/grants/${made.id}`)).status).toBe(200)
    expect((await parts.call('GET', `/grants/${made.id}`)).body.code).toBe('UNKNOWN_GRANT')
    expect(await ids('pool=a')).toEqual([])
  })

  test('a port that was not granted is as unknown as the target', async () => {
    await parts.call('POST', '/grants', { user: 'ann', target: 'pump-1', forwards: ['22', 'web'] })
    expect(await outcome(parts, ann, 1, 'pump-1', { port: 80 })).toBe('UNKNOWN_TARGET')
    expect(await visit(parts, ann, 1, 'Web.Pump-1', { port: 80 })).toMatchObject({
      outcome: 'granted',
      target: 'pump-1',
      forward: 'web',
    })
    expect(await outcome(parts, ann, 1, 'vnc.pump-1')).toBe('UNKNOWN_TARGET')
  })
})
