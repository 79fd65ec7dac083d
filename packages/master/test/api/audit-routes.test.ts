import type { VisitReport } from '@sshoal/shared'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { linesOfChanges } from '../../src/api/change-audit.ts'
import { online, person, visitReport, type Parts } from '../access/fixture.ts'
import { fingerprint, keyLine } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'

let parts: Parts
beforeEach(async () => {
  parts = await startParts()
})
afterEach(() => parts.close())

interface Entry {
  type: string
  [field: string]: unknown
}
const entries = async (query = ''): Promise<Entry[]> =>
  (await parts.call('GET', `/audit?${query}`)).body.entries

const report = (id: string, more: Partial<VisitReport> = {}): VisitReport =>
  visitReport(parts, id, { account: 'root', via: 'us-1', ...more })

const as = (token: string) => ({ authorization: `Bearer ${token}` })

/** Their rooms write their own lines, in one step with the change or by what they tell of themselves. */
const OWN_ROOMS =
  /(User|UserKey|Pool|PoolMember|Grant|Gate|Target|Project|Lease|Device|DeviceKey|Token)$|^(sshKeyGen|api)Post$/
const CHANGES_NOTHING = new Set(['connectPost'])

describe('the audit', () => {
  test('has every change with who did it, what it was before and what after, and an event for each', async () => {
    await online(parts, 'pump-1')
    await person(parts, 'ann', 1)
    await parts.call('PATCH', '/users/ann', { name: 'Ann' })
    await parts.call('POST', '/users/ann/keys', { key: keyLine(2) })
    await parts.call('POST', '/pools', { name: 'a' })
    await parts.call('POST', '/pools/a/members', { target: 'pump-1' })
    const { id } = (await parts.call('POST', '/grants', { user: 'ann', pool: 'a' })).body
    await parts.call('DELETE', `/grants/${id}`)
    await parts.call('POST', '/users/ann/revoke')
    await parts.call('DELETE', '/users/ann')
    await parts.call('DELETE', '/users/ann')
    const types = [
      'user.created',
      'user.changed',
      'key.added',
      'pool.created',
      'pool.member-added',
      'grant.created',
      'grant.removed',
      'user.revoked',
      'user.removed',
    ]
    const all = await entries()
    expect(all.map(({ type }) => type).sort()).toEqual(types.toSorted())
    const told = parts.events.after(0, 100).events.map(({ type }) => type)
    expect(told.filter((type) => types.includes(type))).toEqual(types)
    expect(all.find(({ type }) => type === 'user.changed')).toMatchObject({
      by: 'admin',
      user: 'ann',
      before: { email: 'ann@example.com', login: 'ann' },
      after: { name: 'Ann' },
    })
    expect(all.find(({ type }) => type === 'grant.removed')).toMatchObject({
      user: 'ann',
      pool: 'a',
      before: { pool: 'a', forwards: ['22'] },
    })
    expect(JSON.stringify(all)).not.toContain('sshoal_')
  })

  test('has the changes of devices and tokens too, and no secret', async () => {
    await parts.call('POST', '/devices', { id: 'pump-1', keys: [keyLine(1)] })
    await parts.call('PATCH', '/devices/pump-1', { name: 'Pump' })
    await parts.call('PATCH', '/devices/pump-9', { name: 'Pump' })
    await parts.call('DELETE', '/devices/pump-1')
    const made = (await parts.call('POST', '/tokens', { role: 'operator', label: 'grafana' })).body
    await parts.call('DELETE', `/tokens/${made.id}`)
    const all = await entries()
    const types = ['device.created', 'device.changed', 'device.removed', 'token.created', 'token.revoked']
    expect(all.map(({ type }) => type).sort()).toEqual(types.toSorted())
    const of = (type: string) => all.find((entry) => entry.type === type)
    expect(of('device.changed')).toMatchObject({
      by: 'admin',
      device: 'pump-1',
      before: { id: 'pump-1', keys: [keyLine(1)] },
      after: { id: 'pump-1', name: 'Pump' },
    })
    expect(of('device.created')).not.toHaveProperty('before')
    expect(of('device.removed')).not.toHaveProperty('after')
    expect(of('token.created')).toMatchObject({ after: { role: 'operator', label: 'grafana' } })
    expect(JSON.stringify(all)).not.toContain(made.token)
  })

  test('has each change of a device or token in one step with it, and none that was not made', async () => {
    const { transact } = parts.store
    const steps: string[] = []
    parts.store.transact = (changes, options) => {
      const kinds = changes.map((change) => change.ref.kind)
      if (kinds.includes('device') || kinds.includes('token'))
        steps.push(kinds.filter((kind) => ['device', 'token', 'audit'].includes(kind)).join(' '))
      return transact.call(parts.store, changes, options)
    }
    await parts.call('POST', '/devices', { id: 'pump-1', keys: [keyLine(1)] })
    await parts.call('PATCH', '/devices/pump-1', { name: 'Pump' })
    await parts.call('POST', '/devices/pump-1/keys', { key: keyLine(2) })
    await parts.call('DELETE', `/devices/pump-1/keys/${encodeURIComponent(fingerprint(2))}`)
    await parts.call('DELETE', '/devices/pump-1')
    const { id } = (await parts.call('POST', '/tokens', { role: 'operator' })).body
    await parts.call('DELETE', `/tokens/${id}`)
    expect(steps).toEqual([...Array.from({ length: 5 }, () => 'device audit'), 'token audit', 'token audit'])
    const before = (await entries()).length
    expect(before).toBe(7)
    parts.store.transact = () => Promise.reject(new Error('away'))
    expect((await parts.call('POST', '/devices', { id: 'pump-2' })).status).toBe(500)
    parts.store.transact = transact.bind(parts.store)
    await parts.call('DELETE', '/devices/pump-1')
    await parts.call('DELETE', `/tokens/${id}`)
    expect(await entries()).toHaveLength(before)
  })

  test('has what is done to live devices, slaves and keys, and the leases with who asked for them', async () => {
    await online(parts, 'pump-1')
    await parts.call('POST', '/devices/pump-1/kick')
    await parts.call('POST', '/devices/pump-1/recheck')
    await parts.call('POST', '/recheck', { keys: [fingerprint(1), fingerprint(2)] })
    await parts.call('POST', '/cluster/slaves/eu-1/drain', { seconds: 30 })
    await parts.call('POST', '/cluster/slaves/eu-9/drain', { seconds: 30 })
    await parts.call('POST', '/devices/import', [{ id: 'pump-2' }, { id: 'pump-3' }])
    const integrator = await parts.token('integrator', 'default')
    const body = { device: 'pump-1', timeout: '10m', publicKey: keyLine(3) }
    const lease = (await parts.call('POST', '/leases', body, integrator)).body
    await parts.call('PATCH', `/leases/${lease.id}`, { timeout: '20m' })
    await parts.call('DELETE', `/leases/${lease.id}`)
    await parts.access.flush()
    const all = await entries()
    const of = (type: string) => all.find((entry) => entry.type === type)
    expect(of('device.kicked')).toMatchObject({ by: 'admin', device: 'pump-1' })
    expect(of('device.rechecked')).toMatchObject({ by: 'admin', device: 'pump-1' })
    expect(of('keys.rechecked')).toMatchObject({
      after: { asked: 2, keys: [fingerprint(1), fingerprint(2)] },
    })
    expect(all.filter(({ type }) => type === 'slave.drain')).toMatchObject([
      { by: 'admin', after: { slave: 'eu-1', seconds: 30 } },
    ])
    expect(of('device.imported')).toMatchObject({ after: { created: 2, devices: ['pump-2', 'pump-3'] } })
    const about = { device: 'pump-1', fingerprint: fingerprint(3) }
    expect(of('lease.issued')).toMatchObject({ ...about, by: 'integrator', after: { lease: lease.id } })
    expect(of('lease.extended')).toMatchObject({ ...about, by: 'admin', after: { lease: lease.id } })
    expect(of('lease.revoked')).toMatchObject({ ...about, by: 'admin', before: { lease: lease.id } })
  })

  test('has the store that took the place of another, and no secret of it', async () => {
    const lines = (await parts.api.inject({ url: '/store/export', headers: as(parts.admin) })).body
    const headers = { ...as(parts.admin), 'content-type': 'application/x-ndjson' }
    const url = '/store/import?replace=true'
    const { statusCode } = await parts.api.inject({ method: 'POST', url, headers, payload: lines })
    expect(statusCode).toBe(200)
    const all = await entries()
    expect(all.find(({ type }) => type === 'store.imported')).toMatchObject({
      by: 'admin',
      before: { id: parts.store.id },
      after: { id: parts.store.id, records: 1 },
    })
    expect(JSON.stringify(all)).not.toContain(parts.admin)
  })

  test('knows every operation that changes something', async () => {
    const { paths } = (await parts.call('GET', '/openapi.json')).body as {
      paths: Record<string, Record<string, { operationId: string }>>
    }
    const changing = Object.values(paths).flatMap((methods) =>
      Object.entries(methods).flatMap(([method, { operationId }]) =>
        ['post', 'patch', 'put', 'delete'].includes(method) ? operationId : [],
      ),
    )
    const lines = linesOfChanges(parts)
    const unknown = changing.filter((id) => !lines.has(id) && !OWN_ROOMS.test(id) && !CHANGES_NOTHING.has(id))
    expect(unknown).toEqual([])
  })

  test('what was refused is not in it', async () => {
    await person(parts, 'ann', 1)
    await parts.call('POST', '/users', { email: 'ann@example.com' })
    await parts.call('POST', '/grants', { user: 'ann', target: 'pump-9' })
    expect((await entries()).map(({ type }) => type)).toEqual(['user.created'])
  })

  test('has every visit once, with how it ended, newest first', async () => {
    void parts.access.desk.visited(report('v-1'), 'eu-1')
    parts.clock.now += 1_000
    void parts.access.desk.visited(report('v-2'), 'eu-1')
    await parts.access.flush()
    expect(await entries('type=visit')).toMatchObject([
      {
        visit: 'v-2',
        slave: 'eu-1',
        via: 'us-1',
        user: 'ann',
        remoteAddress: '198.51.100.4',
        account: 'root',
      },
      { visit: 'v-1' },
    ])
    const ended = { at: parts.clock.now, bytesToTarget: 10, bytesFromTarget: 20, reason: 'finished' }
    void parts.access.desk.visited(report('v-1', { startedAt: parts.clock.now - 1_000, ended }), 'eu-1')
    await parts.access.flush()
    const [, first] = await entries('type=visit')
    expect(first).toMatchObject({ visit: 'v-1', bytesToTarget: 10, bytesFromTarget: 20, reason: 'finished' })
    expect(parts.visitOutcomes).toEqual(['opened', 'opened', 'closed'])
    const told = parts.events.after(0, 100).events.map(({ type }) => type)
    expect(told).toEqual(['visit.opened', 'visit.opened', 'visit.closed'])
  })

  test('is asked by person, target, type and time, and paged without losing or repeating any', async () => {
    await person(parts, 'ann', 1)
    await person(parts, 'bob', 2)
    const begin = parts.clock.now
    for (let n = 0; n < 10; n++) {
      parts.clock.now += 1_000
      void parts.access.desk.visited(report(`v-${n}`, { target: `pump-${n % 2}` }), 'eu-1')
    }
    await parts.access.flush()
    expect(await entries('user=bob')).toHaveLength(1)
    expect(await entries('type=user')).toHaveLength(2)
    expect(await entries('target=PUMP-0')).toHaveLength(5)
    const at = (seconds: number): string => new Date(begin + seconds * 1_000).toISOString()
    const visits = async (query: string) => (await entries(`type=visit&${query}`)).map(({ visit }) => visit)
    expect(await visits(`since=${at(3)}&until=${at(5)}`)).toEqual(['v-4', 'v-3', 'v-2'])
    const found: string[] = []
    let cursor = ''
    do {
      const { body } = await parts.call('GET', `/audit?type=visit&limit=3${cursor}`)
      found.push(...body.entries.map(({ visit }: { visit: string }) => visit))
      cursor = body.next === null ? '' : `&cursor=${body.next}`
    } while (cursor !== '')
    expect(found).toEqual([...Array(10).keys()].toReversed().map((n) => `v-${n}`))
    expect((await parts.call('GET', '/audit?since=soon')).status).toBe(400)
    expect((await parts.call('GET', '/audit?cursor=x')).status).toBe(400)
  })

  test('G063: shows a project its own, also by another’s cursor', async () => {
    await person(parts, 'ann', 1)
    await person(parts, 'bob', 2)
    const acme = await parts.token('admin', 'acme')
    const { next } = (await parts.call('GET', '/audit?limit=1')).body
    expect((await parts.call('GET', `/audit?cursor=${next}`, null, acme)).body).toEqual({
      entries: [],
      next: null,
    })
    expect((await parts.call('GET', '/audit', null, await parts.token('operator', 'default'))).status).toBe(
      403,
    )
  })

  test('drops what is too old', async () => {
    void parts.access.desk.visited(report('old'), 'eu-1')
    parts.clock.now += 91 * 86_400_000
    void parts.access.desk.visited(report('new'), 'eu-1')
    await parts.access.flush()
    await parts.access.sweepAudit()
    expect(await entries()).toMatchObject([{ visit: 'new' }])
    expect(parts.visitOutcomes).toContain('dropped 1')
  })

  test('what the store does not take now is written when it does', async () => {
    const { transact } = parts.store
    parts.store.transact = () => Promise.reject(new Error('away'))
    void parts.access.desk.visited(report('v-1'), 'eu-1')
    await parts.access.flush()
    parts.store.transact = transact.bind(parts.store)
    expect(await entries()).toEqual([])
    await parts.access.flush()
    expect(await entries()).toMatchObject([{ visit: 'v-1' }])
  })

  test('a begin that comes late does not undo the end, whichever master hears it, and is no second event', async () => {
    const ended = { at: parts.clock.now, bytesToTarget: 10, bytesFromTarget: 20, reason: 'finished' }
    const tell = (more: Partial<VisitReport> = {}, slave = 'eu-1') =>
      parts.access.desk.visited(report('v-1', { startedAt: begin, ...more }), slave)
    const begin = parts.clock.now
    // In the same batch, and after the end was written.
    for (const wait of [false, true]) {
      const told = [tell(), tell({ ended }), tell()]
      if (wait) await parts.access.flush()
      told.push(tell())
      await parts.access.flush()
      await Promise.all(told)
      expect(await entries()).toMatchObject([{ visit: 'v-1', bytesToTarget: 10, reason: 'finished' }])
    }
    expect(parts.visitOutcomes).toEqual(['opened', 'closed'])
    // Nor does another slave write over it.
    void tell({ ended: { ...ended, reason: 'forged' } }, 'us-1')
    await parts.access.flush()
    expect(await entries()).toMatchObject([{ visit: 'v-1', slave: 'eu-1', reason: 'finished' }])
  })

  test('a report is confirmed when it is written down, not before', async () => {
    const { transact } = parts.store
    parts.store.transact = () => Promise.reject(new Error('away'))
    let confirmed = false
    const told = parts.access.desk.visited(report('v-1'), 'eu-1').then(() => (confirmed = true))
    await parts.access.flush()
    expect(confirmed).toBe(false)
    parts.store.transact = transact.bind(parts.store)
    await told
    expect(await entries()).toMatchObject([{ visit: 'v-1' }])
  })
})

test('the audit keeps so many lines of each project, the newest', async () => {
  const kept = await startParts({ auditKeep: 5 })
  for (let n = 0; n < 12; n++) {
    kept.clock.now += 1_000
    for (const project of ['default', 'acme'])
      void kept.access.desk.visited({ ...report(`v-${n}`), project, startedAt: kept.clock.now }, 'eu-1')
  }
  await kept.access.flush()
  await kept.access.sweepAudit()
  for (const project of ['default', 'acme']) {
    const { body } = await kept.call('GET', `/audit?project=${project}`)
    expect(body.entries.map(({ visit }: { visit: string }) => visit)).toEqual([
      'v-11',
      'v-10',
      'v-9',
      'v-8',
      'v-7',
    ])
  }
  // What was written since is counted.
  kept.clock.now += 1_000
  void kept.access.desk.visited({ ...report('v-12'), startedAt: kept.clock.now }, 'eu-1')
  await kept.access.flush()
  await kept.access.sweepAudit()
  const { body } = await kept.call('GET', '/audit')
  expect(body.entries.map(({ visit }: { visit: string }) => visit)).toEqual([
    'v-12',
    'v-11',
    'v-10',
    'v-9',
    'v-8',
  ])
  await kept.close()
})
