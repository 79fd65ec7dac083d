import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { gateSlave, online, outcome, person, type Parts } from '../access/fixture.ts'
import { fingerprint, keyLine } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'

let parts: Parts

beforeEach(async () => {
  parts = await startParts()
  parts.gateSlaves.set('eu-1', gateSlave('eu-1'))
})
afterEach(() => parts.close())

const create = (body: object, as?: string) => parts.call('POST', '/users', body, as)
const keyPath = (user: string, seed: number): string =>
  `/users/${user}/keys/${encodeURIComponent(fingerprint(seed))}`

describe('/users', () => {
  test('P070 P094 P096: a person is made with keys and several pools, read back by id, login and e-mail', async () => {
    for (const name of ['pumps', 'doors']) await parts.call('POST', '/pools', { name })
    const made = await create({
      email: 'Ann.Lee@example.com',
      name: 'Ann Lee',
      keys: [keyLine(1, 'ann@desk'), { key: keyLine(2), label: 'laptop' }],
      pools: ['pumps', 'doors'],
    })
    expect(made).toMatchObject({
      status: 201,
      body: {
        project: 'default',
        email: 'Ann.Lee@example.com',
        login: 'ann.lee',
        name: 'Ann Lee',
        keys: [
          { fingerprint: fingerprint(1), label: 'ann@desk' },
          { fingerprint: fingerprint(2), label: 'laptop' },
        ],
      },
    })
    for (const text of [made.body.id, 'ANN.LEE', 'ann.lee@EXAMPLE.com'])
      expect((await parts.call('GET', `/users/${text}`)).body).toEqual(made.body)
    const { grants } = (await parts.call('GET', '/grants?user=ann.lee')).body
    expect(grants.map(({ pool }: { pool: string }) => pool).sort()).toEqual(['doors', 'pumps'])
    expect(await create({ email: 'bob@example.com', pools: ['nowhere'] })).toMatchObject({
      status: 404,
      body: { code: 'UNKNOWN_POOL' },
    })
    expect((await parts.call('GET', '/users/bob')).status).toBe(404)
  })

  test('an e-mail, a login and a key are one person’s in a project; another project has its own', async () => {
    await person(parts, 'ann', 1)
    const codes = async (body: object) => {
      const { status, body: answer } = await create(body)
      return [status, answer.code]
    }
    expect(await codes({ email: 'ANN@example.com', login: 'other' })).toEqual([409, 'EMAIL_TAKEN'])
    expect(await codes({ email: 'ann@elsewhere.com' })).toEqual([409, 'LOGIN_TAKEN'])
    expect(await codes({ email: 'bob@example.com', keys: [keyLine(1)] })).toEqual([409, 'KEY_TAKEN'])
    expect(await codes({ email: 'no' })).toEqual([400, 'INVALID_EMAIL'])
    expect(await codes({ email: 'a@b', color: 'red' })).toEqual([400, 'INVALID_BODY'])
    expect(await codes({ email: 'a@b', keys: ['ssh-rsa AAAA'] })).toEqual([400, 'INVALID_KEY'])
    expect((await parts.call('GET', '/users')).body.users).toHaveLength(1)
    const there = await parts.call('POST', '/users?project=acme', {
      email: 'ann@example.com',
      keys: [keyLine(1)],
    })
    expect(there.status).toBe(201)
  })

  test('C01: one key may be a device’s and a person’s', async () => {
    await parts.registry.create('default', { id: 'pump-1', keys: [keyLine(1)] })
    await person(parts, 'ann', 1)
    expect((await parts.registry.byFingerprint(fingerprint(1))).map(({ id }) => id)).toEqual(['pump-1'])
  })

  test('G063 C25: a project’s admin sees and changes its own people alone', async () => {
    await person(parts, 'ann', 1)
    const acme = await parts.token('admin', 'acme')
    expect((await create({ email: 'bob@acme.example' }, acme)).body.project).toBe('acme')
    expect((await parts.call('GET', '/users', null, acme)).body.users).toMatchObject([{ login: 'bob' }])
    for (const [method, path, body] of [
      ['GET', '/users/ann', null],
      ['PATCH', '/users/ann', { name: 'x' }],
      ['DELETE', '/users/ann', null],
      ['POST', '/users/ann/revoke', null],
    ] as const)
      expect((await parts.call(method, path, body, acme)).status).toBe(404)
    expect((await parts.call('GET', '/users?project=default', null, acme)).status).toBe(403)
    for (const role of ['operator', 'integrator', 'slave', 'user'] as const) {
      const token = await parts.token(role, role === 'slave' ? '*' : 'default')
      expect((await parts.call('GET', '/users', null, token)).status).toBe(403)
    }
  })

  test('are listed a page at a time, and changed; null takes the name away', async () => {
    for (const [index, login] of ['ann', 'bob', 'cid'].entries()) await person(parts, login, index + 1)
    const first = (await parts.call('GET', '/users?limit=2')).body
    const second = (await parts.call('GET', `/users?limit=2&cursor=${first.next}`)).body
    expect(second.next).toBeNull()
    const logins = [...first.users, ...second.users].map(({ login }: { login: string }) => login)
    expect(logins.sort()).toEqual(['ann', 'bob', 'cid'])
    expect((await parts.call('PATCH', '/users/ann', { name: 'Ann', login: 'Annie' })).body).toMatchObject({
      name: 'Ann',
      login: 'annie',
    })
    expect((await parts.call('PATCH', '/users/annie', { name: null })).body.name).toBeNull()
    expect((await parts.call('PATCH', '/users/annie', { login: 'bob' })).body.code).toBe('LOGIN_TAKEN')
    expect((await parts.call('PATCH', '/users/annie', { email: 'x' })).status).toBe(400)
  })
})

describe('/users/:user/keys', () => {
  test('G023 G046 G066: are added, labelled, listed and removed; one that is there already changes nothing', async () => {
    await person(parts, 'ann', 1)
    expect((await parts.call('POST', '/users/ann/keys', { key: keyLine(2), label: 'desk' })).status).toBe(201)
    const before = (await parts.call('GET', '/users/ann/keys')).body
    expect((await parts.call('POST', '/users/ann/keys', { key: keyLine(2, 'again') })).status).toBe(201)
    expect((await parts.call('GET', '/users/ann/keys')).body).toEqual(before)
    await parts.call('PATCH', keyPath('ann', 2), { label: 'attic' })
    expect((await parts.call('GET', '/users/ann/keys')).body.keys[1].label).toBe('attic')
    expect((await parts.call('PATCH', keyPath('ann', 2), { label: 'a\u001b[31m' })).status).toBe(400)
    expect((await parts.call('DELETE', keyPath('ann', 2))).status).toBe(200)
    expect((await parts.call('DELETE', keyPath('ann', 2))).body.code).toBe('UNKNOWN_KEY')
    expect((await parts.call('GET', '/users/ann/keys')).body.keys).toHaveLength(1)
  })

  test('G064: a label has room for 255 characters, a key for 16,384; a private key is nothing to hand in', async () => {
    await person(parts, 'ann', 1)
    const add = (body: object) => parts.call('POST', '/users/ann/keys', body)
    expect((await add({ key: keyLine(2), label: 'x'.repeat(255) })).status).toBe(201)
    expect((await add({ key: keyLine(3), label: 'x'.repeat(256) })).status).toBe(400)
    expect((await add({ key: '-----BEGIN OPENSSH PRIVATE KEY-----' })).body.code).toBe('INVALID_KEY')
    expect((await add({ key: `command="sh" ${keyLine(3)}` })).body.code).toBe('INVALID_KEY')
  })

  test('a new key, a removed one and a label reach the slaves, which know what they cached of it', async () => {
    await person(parts, 'ann', 1)
    parts.cluster.invalidated = []
    await parts.call('POST', '/users/ann/keys', { key: keyLine(2) })
    await parts.call('PATCH', keyPath('ann', 1), { label: 'x' })
    await parts.call('DELETE', keyPath('ann', 2))
    expect(parts.cluster.invalidated).toEqual([[fingerprint(2)], [fingerprint(1)], [fingerprint(2)]])
  })
})

describe('who leaves', () => {
  test('P071 C20: a removed person leaves no key, no grant and no token; the id is never another’s', async () => {
    await online(parts, 'pump-1')
    const ann = await person(parts, 'ann', 1)
    await parts.call('POST', '/grants', { user: 'ann', target: 'pump-1' })
    const { token } = (await parts.call('POST', '/tokens', { role: 'user', user: 'ann' })).body
    parts.cluster.invalidated = []
    parts.cluster.invalidateCuts = 2
    expect((await parts.call('DELETE', '/users/ann')).body).toEqual({ cut: 2 })
    expect(parts.cluster.invalidated).toEqual([[fingerprint(1)]])
    expect((await parts.call('GET', '/ssh-config', null, token)).status).toBe(401)
    const again = await person(parts, 'ann', 1)
    expect(again.id).not.toBe(ann.id)
    expect((await parts.call('GET', '/grants')).body.grants).toEqual([])
    expect((await parts.store.scan({ kind: 'grant-on', limit: 10 })).records).toEqual([])
    expect(await outcome(parts, again, 1, 'pump-1')).toBe('UNKNOWN_TARGET')
    expect(await outcome(parts, ann, 1, 'pump-1')).toBe('KEY_REMOVED')
  })

  test('P076: a person whose keys are revoked reaches nothing, and with a new key what was granted', async () => {
    await online(parts, 'pump-1')
    const ann = await person(parts, 'ann', 1)
    await parts.call('POST', '/users/ann/keys', { key: keyLine(2) })
    await parts.call('POST', '/grants', { user: 'ann', target: 'pump-1' })
    parts.cluster.invalidated = []
    expect((await parts.call('POST', '/users/ann/revoke')).status).toBe(200)
    expect(parts.cluster.invalidated).toEqual([[fingerprint(1), fingerprint(2)]])
    expect(await outcome(parts, ann, 1, 'pump-1')).toBe('KEY_REMOVED')
    await parts.call('POST', '/users/ann/keys', { key: keyLine(3) })
    expect(await outcome(parts, ann, 3, 'pump-1')).toBe('granted')
    expect(await outcome(parts, ann, 1, 'pump-1')).toBe('KEY_REMOVED')
  })
})
