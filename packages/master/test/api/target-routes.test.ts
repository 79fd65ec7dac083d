import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { gateSlave, online, outcome, person, visit, type Parts } from '../access/fixture.ts'
import { fingerprint, keyLine } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'

let parts: Parts
let ann: { id: string }

beforeEach(async () => {
  parts = await startParts()
  const dialler = gateSlave('eu-1', { region: 'eu' })
  parts.gateSlaves.set('eu-1', { ...dialler, hello: { ...dialler.hello, dials: true } })
  parts.gateSlaves.set('us-1', gateSlave('us-1', { region: 'us' }))
  ann = await person(parts, 'ann', 1)
})
afterEach(() => parts.close())

const host = (more: object = {}) =>
  parts.call('POST', '/targets', { name: 'db', address: '10.0.0.5', region: 'eu', ...more })

describe('a device', () => {
  test('G010: is a target as soon as it is there, however it came, and none when it is gone', async () => {
    await parts.call('POST', '/devices', { id: 'Pump-1' })
    expect((await parts.call('GET', '/targets/PUMP-1')).body).toMatchObject({
      name: 'pump-1',
      kind: 'device',
      device: 'Pump-1',
      online: false,
      hostKeys: [],
      gates: [],
    })
    await parts.api.inject({
      method: 'POST',
      url: '/devices/import',
      headers: { authorization: `Bearer ${parts.admin}`, 'content-type': 'application/x-ndjson' },
      payload: '{"id":"pump-2"}\n{"id":"AA:BB"}\n',
    })
    await parts.call('POST', '/leases', {
      macaddress: '00:13:48:02:6A:FE',
      timeout: 60_000,
      publicKey: keyLine(9),
    })
    const { targets } = (await parts.call('GET', '/targets')).body
    expect(targets.map(({ device }: { device: string }) => device).sort()).toEqual([
      '001348026afe',
      'AA:BB',
      'Pump-1',
      'pump-2',
    ])
    await parts.call('DELETE', '/devices/Pump-1')
    expect((await parts.call('GET', '/targets/pump-1')).status).toBe(404)
    const leave = await parts.call('DELETE', '/targets/pump-2')
    expect([leave.status, leave.body.code]).toEqual([409, 'DEVICE_TARGET'])
  })

  test('whose name is another’s gets one of its own; two at once get two', async () => {
    await Promise.all(['pump', 'PUMP', 'Pump', 'puMp'].map((id) => parts.registry.create('default', { id })))
    const { targets } = (await parts.call('GET', '/targets?q=pump')).body
    expect(new Set(targets.map(({ name }: { name: string }) => name)).size).toBe(4)
    expect(targets.filter(({ name }: { name: string }) => name === 'pump')).toHaveLength(1)
    for (const { name } of targets) expect(name).toMatch(/^pump(-[0-9a-f]{8})?$/)
  })

  test('that only the hook knows is a target within a second', async () => {
    const hooked = await startParts({ authority: 'hook' })
    hooked.registry.remember('default', 'Door 7')
    await hooked.registry.flush()
    const { targets } = (await hooked.call('GET', '/targets')).body
    expect(targets).toMatchObject([
      { device: 'Door 7', name: expect.stringMatching(/^door-7-[0-9a-f]{8}$/) as string },
    ])
    await hooked.close()
  })

  test('that comes back under its id has nothing of what was granted on the one before', async () => {
    await online(parts, 'pump-1')
    await parts.call('POST', '/pools', { name: 'a', members: ['pump-1'], users: ['ann'] })
    await parts.call('POST', '/grants', { user: 'ann', target: 'pump-1' })
    expect(await outcome(parts, ann, 1, 'pump-1')).toBe('granted')
    await parts.call('DELETE', '/devices/pump-1')
    await parts.registry.create('default', { id: 'pump-1' })
    expect(await outcome(parts, ann, 1, 'pump-1')).toBe('UNKNOWN_TARGET')
    expect((await parts.call('GET', '/pools/a')).body.members).toEqual([])
    expect((await parts.call('GET', '/grants?user=ann')).body.grants).toMatchObject([{ pool: 'a' }])
  })

  test('is pinned, and nothing else is said of it here', async () => {
    await online(parts, 'pump-1')
    const pinned = await parts.call('PATCH', '/targets/pump-1', { hostKeys: [keyLine(7, 'root@pump')] })
    expect(pinned.body.hostKeys).toEqual([keyLine(7)])
    expect((await parts.call('PATCH', '/targets/pump-1', { address: '10.0.0.1' })).body.code).toBe(
      'DEVICE_TARGET',
    )
    expect((await parts.call('PATCH', '/targets/pump-1', { hostKeys: ['x'] })).body.code).toBe('INVALID_KEY')
    expect((await parts.call('PATCH', '/targets/pump-1', { hostKeys: [] })).body.hostKeys).toEqual([])
  })
})

describe('a host', () => {
  test('is dialled by a slave of its region, on its own port where ssh named none', async () => {
    await host({ port: 2_200 })
    await parts.call('POST', '/grants', { user: 'ann', target: 'db', forwards: ['22', '5432'] })
    expect(await visit(parts, ann, 1, 'db')).toMatchObject({
      to: { kind: 'host', address: '10.0.0.5', port: 2_200 },
      carrier: { slave: 'eu-1' },
    })
    expect(await visit(parts, ann, 1, 'db', { port: 5_432, slave: 'us-1' })).toMatchObject({
      to: { kind: 'host', address: '10.0.0.5', port: 5_432 },
      carrier: { slave: 'eu-1', relay: {} },
    })
    expect(await outcome(parts, ann, 1, 'db', { port: 80 })).toBe('UNKNOWN_TARGET')
    parts.gateSlaves.delete('eu-1')
    expect(await outcome(parts, ann, 1, 'db', { slave: 'us-1' })).toBe('NO_CARRIER')
  })

  test('G057: what is wrong is 400, what is taken 409, what is not there 404', async () => {
    expect((await host()).status).toBe(201)
    expect((await host()).body.code).toBe('TARGET_TAKEN')
    expect((await host({ name: 'a b' })).status).toBe(400)
    expect((await host({ name: 'c', address: 'a b' })).body.code).toBe('INVALID_ADDRESS')
    expect((await host({ name: 'c', address: 'x', port: 0 })).status).toBe(400)
    expect((await host({ name: 'c', color: 'red' })).status).toBe(400)
    expect((await parts.call('GET', '/targets/elsewhere')).status).toBe(404)
    expect((await parts.call('PATCH', '/targets/elsewhere', {})).status).toBe(404)
  })

  test('that moves, or is removed, is asked about again for all who reach it', async () => {
    await host()
    await parts.call('POST', '/pools', { name: 'eu', selector: { region: 'eu' }, users: ['ann'] })
    expect(await outcome(parts, ann, 1, 'db')).toBe('granted')
    parts.cluster.invalidated = []
    await parts.call('PATCH', '/targets/db', { address: '10.0.0.6' })
    expect(parts.cluster.invalidated).toEqual([[fingerprint(1)]])
    await parts.call('PATCH', '/targets/db', { hostKeys: [keyLine(7)] })
    expect(parts.cluster.invalidated).toHaveLength(1)
    await parts.call('DELETE', '/targets/db')
    expect(parts.cluster.invalidated).toHaveLength(2)
    expect(await outcome(parts, ann, 1, 'db')).toBe('UNKNOWN_TARGET')
  })

  test('are found by a part of what they are, a page at a time', async () => {
    for (let n = 0; n < 5; n++) await host({ name: `db-${n}`, address: `10.0.1.${n}` })
    await online(parts, 'pump-1')
    const names = async (query: string) => {
      const found: string[] = []
      let cursor = ''
      do {
        const { body } = await parts.call('GET', `/targets?limit=2&${query}${cursor}`)
        found.push(...body.targets.map(({ name }: { name: string }) => name))
        cursor = body.next === null ? '' : `&cursor=${body.next}`
      } while (cursor !== '')
      return found
    }
    expect(await names('')).toEqual(['db-0', 'db-1', 'db-2', 'db-3', 'db-4', 'pump-1'])
    expect(await names('q=10.0.1.3')).toEqual(['db-3'])
    expect(await names('kind=device')).toEqual(['pump-1'])
    await parts.call('POST', '/pools', { name: 'a', members: ['db-1', 'db-4', 'pump-1'] })
    expect(await names('pool=a')).toEqual(['db-1', 'db-4', 'pump-1'])
    expect(await names('pool=a&kind=host')).toEqual(['db-1', 'db-4'])
    expect((await parts.call('GET', '/targets?pool=nowhere')).status).toBe(404)
  })
})

describe('/gates', () => {
  const gate = (name: string, region?: string) =>
    parts.call('POST', '/gates', {
      name,
      host: `${name}.example.com`,
      port: 2_222,
      ...(region ? { region } : {}),
    })

  test('G046 G062: are made, listed, changed and removed; a target may be attached to many', async () => {
    await online(parts, 'pump-1')
    expect((await gate('eu', 'eu')).body).toMatchObject({ name: 'eu', host: 'eu.example.com', region: 'eu' })
    await gate('us', 'us')
    expect((await gate('us')).body.code).toBe('GATE_TAKEN')
    expect((await gate('default')).body.code).toBe('INVALID_NAME')
    for (const name of ['eu', 'us'])
      expect((await parts.call('POST', `/gates/${name}/targets`, { target: 'pump-1' })).status).toBe(201)
    expect((await parts.call('GET', '/targets/pump-1')).body.gates).toEqual(['eu', 'us'])
    await parts.call('DELETE', '/gates/us/targets/pump-1')
    expect((await parts.call('GET', '/targets?gate=eu')).body.targets).toMatchObject([{ gates: ['eu'] }])
    expect((await parts.call('GET', '/targets?gate=us')).body.targets).toEqual([])
    expect((await parts.call('PATCH', '/gates/eu', { port: 22 })).body.port).toBe(22)
    expect((await parts.call('PATCH', '/gates/eu', { host: 'a b' })).body.code).toBe('INVALID_ADDRESS')
    const used = await parts.call('DELETE', '/gates/eu')
    expect([used.status, used.body.code]).toEqual([409, 'IN_USE'])
    expect((await parts.call('DELETE', '/gates/us')).status).toBe(204)
    expect((await parts.call('GET', '/gates')).body.gates).toMatchObject([{ name: 'eu' }])
  })

  test('G036 G061: a gate, a target or an attachment that is not there is 404', async () => {
    await online(parts, 'pump-1')
    await gate('eu', 'eu')
    const codes = [
      await parts.call('POST', '/gates/nowhere/targets', { target: 'pump-1' }),
      await parts.call('POST', '/gates/eu/targets', { target: 'pump-9' }),
      await parts.call('DELETE', '/gates/eu/targets/pump-1'),
      await parts.call('GET', '/ssh-config?user=ann&gate=nowhere'),
    ].map(({ status, body }) => [status, body.code])
    expect(codes).toEqual([
      [404, 'UNKNOWN_GATE'],
      [404, 'UNKNOWN_TARGET'],
      [404, 'NOT_ATTACHED'],
      [404, 'UNKNOWN_GATE'],
    ])
  })

  test('an attached target is reached by slaves of the gate’s region alone, whichever slave carries it', async () => {
    await online(parts, 'pump-1')
    await parts.call('POST', '/grants', { user: 'ann', target: 'pump-1' })
    await gate('us', 'us')
    parts.cluster.invalidated = []
    await parts.call('POST', '/gates/us/targets', { target: 'pump-1' })
    expect(parts.cluster.invalidated).toEqual([[fingerprint(1)]])
    expect(await outcome(parts, ann, 1, 'pump-1', { slave: 'eu-1' })).toBe('UNKNOWN_TARGET')
    expect(await outcome(parts, ann, 1, 'pump-1', { slave: 'us-1' })).toBe('granted')
    // The carrier asks again, for a user who is at the other slave.
    expect(await outcome(parts, ann, 1, 'pump-1', { slave: 'eu-1', via: 'us-1' })).toBe('granted')
    await parts.call('PATCH', '/gates/us', { region: 'eu' })
    expect(parts.cluster.invalidated).toHaveLength(2)
    expect(await outcome(parts, ann, 1, 'pump-1', { slave: 'us-1' })).toBe('UNKNOWN_TARGET')
  })
})
