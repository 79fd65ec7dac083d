import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { gateSlave, online, person, type Parts } from '../access/fixture.ts'
import { keyLine } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'

let parts: Parts
let ann: { id: string }

beforeEach(async () => {
  parts = await startParts()
  parts.gateSlaves.set('eu-1', gateSlave('eu-1', { region: 'eu' }))
  parts.gateSlaves.set('us-1', gateSlave('us-1', { region: 'us' }))
  ann = await person(parts, 'ann', 1)
  for (const device of ['pump-1', 'pump-2']) await online(parts, device)
  await parts.call('POST', '/grants', { user: 'ann', target: 'pump-1', account: 'root' })
})
afterEach(() => parts.close())

const config = (query = '', as?: string) => parts.call('GET', `/ssh-config?user=ann${query}`, null, as)

describe('/ssh-config', () => {
  test('G003 G006: names what is granted and nothing else, and no address but the gate’s', async () => {
    const { status, body } = await config()
    expect(status).toBe(200)
    expect(body.gate).toEqual({ name: 'default.default.gate.sshoal', host: 'eu-1.example', port: 2_222 })
    expect(body.config).toContain('Host pump-1 ')
    expect(body.config).toContain('  User root\n')
    expect(body.config).not.toContain('pump-2')
    expect(body.config).not.toContain('203.0.113.5')
    // Any slave may answer under the gate's name.
    expect(body.knownHosts.split('\n')).toHaveLength(3)
    await parts.call('PATCH', '/targets/pump-1', { hostKeys: [keyLine(7)] })
    const pinned = (await config()).body
    expect(pinned.knownHosts).toContain(`pump-1.default.sshoal ${keyLine(7)}\n`)
    expect(pinned.config.match(/StrictHostKeyChecking yes/g)).toHaveLength(2)
  })

  test('as text it is the configuration alone', async () => {
    const { config: text } = (await config()).body
    const response = await parts.api.inject({
      method: 'GET',
      url: '/ssh-config?user=ann',
      headers: { authorization: `Bearer ${parts.admin}`, accept: 'text/plain' },
    })
    expect(response.headers['content-type']).toBe('text/plain; charset=utf-8')
    expect(response.body).toBe(text)
  })

  test('G036: through a gate it names what that gate lets through; each target its own gate', async () => {
    for (const name of ['eu', 'us'])
      await parts.call('POST', '/gates', { name, host: `${name}.example.com`, region: name })
    await parts.call('POST', '/gates/us/targets', { target: 'pump-1' })
    const { body } = await config()
    expect(body.config).toContain('ProxyJump us.default.gate.sshoal')
    expect(body.config).toContain('Host default.default.gate.sshoal')
    expect((await config('&gate=eu')).body.config).not.toContain('pump-1')
    const us = (await config('&gate=us')).body
    expect(us.gate).toEqual({ name: 'us.default.gate.sshoal', host: 'us.example.com', port: 22 })
    expect(us.config).toContain('Host pump-1 ')
    expect(us.knownHosts).toBe('us.default.gate.sshoal ssh-ed25519 AAAAus1\n')
    expect((await config('&gate=nowhere')).body.code).toBe('UNKNOWN_GATE')
  })

  test('a token of role user is somebody’s, and shows their own alone', async () => {
    await person(parts, 'bob', 2)
    const made = await parts.call('POST', '/tokens', { role: 'user', user: 'ann' })
    expect(made.body).toMatchObject({ role: 'user', user: ann.id })
    const { token } = made.body
    expect((await parts.call('GET', '/ssh-config', null, token)).body).toEqual((await config()).body)
    expect((await parts.call('GET', '/ssh-config?user=ann', null, token)).status).toBe(200)
    expect((await parts.call('GET', '/ssh-config?user=bob', null, token)).status).toBe(403)
    expect((await parts.call('GET', '/ssh-config?project=acme', null, token)).status).toBe(403)
    for (const path of ['/targets', '/grants', '/pools', '/users', '/audit', '/gates', '/projects'])
      expect((await parts.call('GET', path, null, token)).status).toBe(403)
    expect((await parts.call('GET', '/ssh-config')).body.code).toBe('INVALID_QUERY')
    expect((await parts.call('GET', '/ssh-config?user=nobody')).status).toBe(404)
    expect((await parts.call('POST', '/tokens', { role: 'user' })).status).toBe(400)
    expect((await parts.call('POST', '/tokens', { role: 'admin', user: 'ann' })).status).toBe(400)
    expect((await parts.call('POST', '/tokens', { role: 'user', user: 'nobody' })).status).toBe(404)
  })

  test('names the account of the grant that lets through: of port 22 for the target, of its own for a forward', async () => {
    await parts.call('POST', '/grants', { user: 'ann', target: 'pump-1', account: 'www', forwards: ['80'] })
    await parts.call('POST', '/pools', { name: 'a' })
    await parts.call('POST', '/pools/a/members', { target: 'pump-2' })
    await parts.call('POST', '/grants', { user: 'ann', pool: 'a', account: 'admin' })
    await parts.call('POST', '/grants', {
      user: 'ann',
      target: 'pump-2',
      account: 'nobody',
      forwards: ['web'],
    })
    const users = (await config()).body.config.match(/^(Host .*pump|  User ).*/gm)
    expect(
      users.filter((line: string) => !line.includes('gate')).map((line: string) => line.trim().split(' ')[1]),
    ).toEqual(['ann', 'pump-1', 'root', 'pump-2', 'admin', 'web.pump-2', 'nobody'])
    const { targets } = await parts.access.desk.reach({ project: 'default', user: ann.id, limit: 9 }, 'eu-1')
    expect(targets.map(({ account }) => account)).toEqual(['root', 'admin'])
  })

  test('C24: names forwards that were granted by name', async () => {
    await parts.call('POST', '/grants', { user: 'ann', target: 'pump-2', forwards: ['22', 'web'] })
    const { body } = await config()
    expect(body.config).toContain('Host web.pump-2\n')
    expect(body.config).not.toContain('*.pump')
  })

  test('C25 G047: a closed project names nobody a way in', async () => {
    await parts.call('PATCH', '/projects/default', { state: 'closed' })
    const project = await parts.call('GET', '/projects/default')
    expect(project.body).toEqual({ id: 'default', name: null, state: 'closed' })
    expect(await parts.access.desk.reach({ project: 'default', user: ann.id, limit: 10 }, 'eu-1')).toEqual({
      targets: [],
      total: 0,
    })
  })
})

test('the public name of --gate-host is the gate; without a port it has that of the slaves; without slaves 22', async () => {
  const gated = await startParts({ gateHost: { host: 'gate.example.org', port: undefined } })
  await person(gated, 'ann', 1)
  const gate = async () => (await gated.call('GET', '/ssh-config?user=ann')).body.gate
  expect(await gate()).toMatchObject({ host: 'gate.example.org', port: 22 })
  gated.gateSlaves.set('eu-1', gateSlave('eu-1'))
  expect(await gate()).toMatchObject({ host: 'gate.example.org', port: 2_222 })
  await gated.close()
})

test('without slaves and without --gate-host there is no gate to name; on this machine it has the asker’s name', async () => {
  const bare = await startParts()
  await person(bare, 'ann', 1)
  expect(await bare.call('GET', '/ssh-config?user=ann')).toMatchObject({
    status: 503,
    body: { code: 'NO_SLAVE' },
  })
  bare.gateSlaves.set('eu-1', gateSlave('eu-1', { reachableHost: null }))
  const response = await bare.api.inject({
    method: 'GET',
    url: '/ssh-config?user=ann',
    headers: { authorization: `Bearer ${bare.admin}`, host: 'box.lan:8080' },
  })
  expect(response.json().gate).toMatchObject({ host: 'box.lan' })
  await bare.close()
})

describe('what a user is told to reach', () => {
  test('is online first, then by name, with the account; and no more than was asked for', async () => {
    await parts.call('POST', '/pools', { name: 'all', selector: { details: { name: 'pump' } } })
    await parts.call('POST', '/grants', { user: 'ann', pool: 'all' })
    await parts.registry.create('default', { id: 'a-pump', name: 'pump' })
    parts.registry.seen('default', 'a-pump', { where: 'x', why: 'left' })
    const reach = (limit: number) =>
      parts.access.desk.reach({ project: 'default', user: ann.id, limit }, 'eu-1')
    expect(await reach(10)).toEqual({
      targets: [
        { name: 'pump-1', account: 'root', online: true },
        { name: 'pump-2', online: true },
        { name: 'a-pump', online: false, seenAt: expect.any(Number) as number },
      ],
      total: 3,
    })
    expect(await reach(1)).toMatchObject({ targets: [{ name: 'pump-1' }], total: 3 })
    expect(await parts.access.desk.reach({ project: 'default', user: 'nobody', limit: 9 }, 'eu-1')).toEqual({
      targets: [],
      total: 0,
    })
  })

  test('host keys of slaves that are there are peers’, and no others', () => {
    expect(parts.access.desk.isPeer('AAAAeu1')).toBe(true)
    expect(parts.access.desk.isPeer('AAAAelse')).toBe(false)
  })
})

describe('/projects', () => {
  test('are there as soon as something is in them; a record names them; one that is used stays', async () => {
    await parts.call('POST', '/users?project=acme', { email: 'bob@acme.example' })
    await parts.call('POST', '/projects', { id: 'empty', name: 'Nobody yet' })
    expect((await parts.call('GET', '/projects')).body.projects).toEqual([
      { id: 'acme', name: null, state: 'active' },
      { id: 'default', name: null, state: 'active' },
      { id: 'empty', name: 'Nobody yet', state: 'active' },
    ])
    expect((await parts.call('POST', '/projects', { id: 'empty' })).body.code).toBe('PROJECT_TAKEN')
    expect((await parts.call('PATCH', '/projects/acme', { name: 'Acme' })).body.name).toBe('Acme')
    expect((await parts.call('DELETE', '/projects/acme')).body.code).toBe('IN_USE')
    expect((await parts.call('DELETE', '/projects/empty')).status).toBe(204)
    expect((await parts.call('GET', '/projects/empty')).status).toBe(404)
    expect((await parts.call('PATCH', '/projects/nowhere', { name: 'x' })).status).toBe(404)
    const acme = await parts.token('admin', 'acme')
    expect((await parts.call('GET', '/projects', null, acme)).body.projects).toMatchObject([{ id: 'acme' }])
    expect((await parts.call('GET', '/projects/default', null, acme)).status).toBe(404)
    expect((await parts.call('POST', '/projects', { id: 'x' }, acme)).status).toBe(403)
  })
})
