import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import { keyLine } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'

type Parts = Awaited<ReturnType<typeof startParts>>

let parts: Parts
/** Each test of the group has a master of its own. */
function ownMaster(): void {
  beforeEach(async () => {
    parts = await startParts()
  })
  afterEach(() => parts.close())
}
/** All tests of the group have the same, because they look that nothing happened. */
function oneMaster(): void {
  beforeAll(async () => {
    parts = await startParts()
  })
  afterAll(() => parts.close())
}

const MAC = '00:13:48:02:6A:FE'
const MINUTE = 60_000

const issue = (body: object) => parts.call('POST', '/leases', body)
const nothingHappened = async (): Promise<void> => {
  const { records } = await parts.store.scan({ kind: 'lease', limit: 10 })
  const devices = await parts.store.scan({ kind: 'device', limit: 10 })
  expect([records, devices.records]).toEqual([[], []])
  expect(parts.leaseSlaves.one().standing.size).toBe(0)
}

describe('POST /leases', () => {
  ownMaster()

  test('K001 K032 K033 K101: answers everything that the device needs, once, and never to be stored on the way', async () => {
    const { status, body, headers } = await issue({ macaddress: MAC, timeout: 30 * MINUTE })
    expect(status).toBe(201)
    expect(headers['cache-control']).toBe('no-store')
    expect(body).toMatchObject({
      id: expect.stringMatching(/^[0-9a-f]{16}$/),
      device: '001348026afe',
      privateKey: expect.stringMatching(/^-----BEGIN OPENSSH PRIVATE KEY-----\n/),
      publicKey: expect.stringMatching(/^ssh-ed25519 \S+ 001348026afe$/),
      fingerprint: expect.stringMatching(/^SHA256:/),
      port: 20_000,
      slave: 'eu-1',
      host: 'eu-1.example.org',
      sshPort: 2_222,
      knownHosts: 'eu-1.example.org ssh-ed25519 AAAAC3Nza\n',
      visit: { address: '127.0.0.1', port: 20_000 },
      command: expect.stringContaining('-p 2222 -R 20000:localhost:22 lease@eu-1.example.org'),
      remainingMs: 30 * MINUTE,
    })
    const { body: shown } = await parts.call('GET', `/leases/${body.id}`)
    expect(shown).not.toHaveProperty('privateKey')
    expect(shown).toMatchObject({ id: body.id, state: 'active', connected: false })
    expect(JSON.stringify((await parts.call('GET', '/leases')).body)).not.toContain('PRIVATE')
  })

  test('K020: one device behind every spelling of its MAC, which a first lease makes, without keys', async () => {
    for (const macaddress of [MAC, '00-13-48-02-6a-fe', '0013.4802.6AFE', '001348026AFE'])
      expect((await issue({ macaddress, timeout: MINUTE })).body.device).toBe('001348026afe')
    const { body } = await parts.call('GET', '/devices')
    expect(body.devices).toMatchObject([{ id: '001348026afe', mac: '001348026afe', keys: [] }])
    expect((await parts.call('GET', '/leases')).body.leases).toHaveLength(1)
  })

  test('a device of another id is found by its MAC, and by its id', async () => {
    await parts.call('POST', '/devices', { id: 'pump', mac: MAC })
    expect((await issue({ macaddress: MAC, timeout: MINUTE })).body.device).toBe('pump')
    expect((await issue({ device: 'pump', timeout: '30m' })).body.device).toBe('pump')
    expect((await issue({ device: MAC, timeout: '30m' })).body.device).toBe('pump')
    expect(await issue({ device: 'nobody', timeout: MINUTE })).toMatchObject({
      status: 404,
      body: { code: 'UNKNOWN_DEVICE' },
    })
  })

  test('K022: the longest time is configured; over it 400, and the limit is told', async () => {
    expect(await issue({ macaddress: MAC, timeout: 86_400_001 })).toMatchObject({
      status: 400,
      body: { code: 'INVALID_TIMEOUT', details: { maximumMs: 86_400_000 } },
    })
    expect(await issue({ macaddress: MAC, timeout: '25h' })).toMatchObject({ status: 400 })
    expect(await issue({ macaddress: MAC, timeout: '24h' })).toMatchObject({ status: 201 })
  })

  test('K007: no token 401, K003: only an integrator and an admin may, each in its project alone', async () => {
    const body = { macaddress: MAC, timeout: MINUTE }
    expect((await parts.call('POST', '/leases', body, 'nothing')).status).toBe(401)
    for (const role of ['operator', 'user'] as const)
      expect((await parts.call('POST', '/leases', body, await parts.token(role, 'default'))).status).toBe(403)
    const [left, right] = [await parts.token('integrator', 'left'), await parts.token('integrator', 'right')]
    const leased = await parts.call('POST', '/leases', body, left)
    expect(leased).toMatchObject({ status: 201, body: { project: 'left' } })
    // The same MAC in another project is another device.
    const other = await parts.call('POST', '/leases', body, right)
    expect(other.body).toMatchObject({ project: 'right', device: leased.body.device })
    for (const [method, more] of [
      ['GET', null],
      ['PATCH', { timeout: MINUTE }],
      ['DELETE', null],
    ] as const)
      expect((await parts.call(method, `/leases/${leased.body.id}`, more, right)).status).toBe(404)
    expect((await parts.call('GET', '/leases', null, right)).body.leases).toMatchObject([
      { id: other.body.id },
    ])
    expect((await parts.call('GET', '/leases?project=left', null, right)).status).toBe(403)
    await nothingElse(2)
  })

  test('K105: nothing is said to other origins', async () => {
    const response = await parts.api.inject({
      method: 'POST',
      url: '/leases',
      headers: { authorization: `Bearer ${parts.admin}`, origin: 'https://elsewhere.example' },
      payload: { macaddress: MAC, timeout: MINUTE },
    })
    expect(response.statusCode).toBe(201)
    expect(response.headers).not.toHaveProperty('access-control-allow-origin')
  })

  test('K103: errors have a status and a body that keeps `error`; no slave is 503', async () => {
    parts.leaseSlaves.all.clear()
    const { status, body, headers } = await issue({ macaddress: MAC, timeout: MINUTE })
    expect(status).toBe(503)
    expect(body).toEqual({ error: 'no slave can take a lease at the moment', code: 'NO_SLAVE' })
    expect(headers['retry-after']).toBe('5')
    expect(parts.counted).toContain('NO_SLAVE')
  })

  test('K035: a private key needs TLS or this machine; a public key of one’s own may come from anywhere', async () => {
    const from = (remoteAddress: string, payload: object, headers: object = {}) =>
      parts.api.inject({
        method: 'POST',
        url: '/leases',
        remoteAddress,
        headers: { authorization: `Bearer ${parts.admin}`, ...headers },
        payload,
      })
    const body = { macaddress: MAC, timeout: MINUTE }
    const far = await from('203.0.113.7', body)
    expect([far.statusCode, far.json().code]).toEqual([403, 'KEY_NEEDS_TLS'])
    await nothingHappened()
    expect((await from('203.0.113.7', { ...body, publicKey: keyLine(1) })).statusCode).toBe(201)
    for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1'])
      expect((await from(address, body)).statusCode).toBe(201)
    // A proxy that nobody named hides who asks.
    const hidden = await from('127.0.0.1', body, { 'x-forwarded-for': '203.0.113.7' })
    expect(hidden.statusCode).toBe(403)
  })
})

test('K035: behind a trusted proxy it counts how the asker came to it', async () => {
  const proxied = await startParts({ config: { trustProxy: ['127.0.0.1/32'] } })
  const via = (proto: string) =>
    proxied.api.inject({
      method: 'POST',
      url: '/leases',
      headers: {
        authorization: `Bearer ${proxied.admin}`,
        'x-forwarded-for': '203.0.113.7',
        'x-forwarded-proto': proto,
      },
      payload: { macaddress: MAC, timeout: MINUTE },
    })
  expect((await via('http')).statusCode).toBe(403)
  expect((await via('https')).statusCode).toBe(201)
  await proxied.close()
})

describe('/leases/:id', () => {
  ownMaster()

  test('is listed a page at a time, extended from now on, revoked once', async () => {
    const ids: string[] = []
    for (let n = 0; n < 5; n++)
      ids.push((await issue({ macaddress: `02000000000${n}`, timeout: MINUTE })).body.id)
    const first = (await parts.call('GET', '/leases?limit=3')).body
    expect(first.leases).toHaveLength(3)
    const second = (await parts.call('GET', `/leases?limit=3&cursor=${first.next}`)).body
    expect(second).toMatchObject({ next: null })
    const listed = [...first.leases, ...second.leases].map(({ id }: { id: string }) => id)
    expect(listed.sort()).toEqual(ids.toSorted())
    expect((await parts.call('GET', '/leases?device=020000000002')).body.leases).toMatchObject([
      { id: ids[2] },
    ])
    parts.clock.now += 50_000
    const extended = await parts.call('PATCH', `/leases/${ids[0]}`, { timeout: '10m' })
    expect(extended.body.remainingMs).toBe(600_000)
    expect(parts.leaseSlaves.one().standing.get(ids[0] ?? '')?.remainingMs).toBe(600_000)
    expect((await parts.call('PATCH', `/leases/${ids[0]}`, { timeout: 'soon' })).status).toBe(400)
    expect(await parts.call('DELETE', `/leases/${ids[1]}`)).toMatchObject({ status: 200 })
    expect((await parts.call('DELETE', `/leases/${ids[1]}`)).status).toBe(404)
    expect((await parts.call('PATCH', `/leases/${ids[1]}`, { timeout: 1_000 })).status).toBe(404)
    expect((await parts.call('GET', `/leases/${ids[1]}`)).body.code).toBe('UNKNOWN_LEASE')
    expect(parts.leaseSlaves.one().standing.has(ids[1] ?? '')).toBe(false)
  })
})

describe('POST /leases refuses', () => {
  oneMaster()

  test.each([
    [{ timeout: MINUTE }, 'INVALID_REQUEST'],
    [{ macaddress: MAC }, 'INVALID_BODY'],
    [{ macaddress: MAC, device: 'pump', timeout: MINUTE }, 'INVALID_REQUEST'],
    [{ macaddress: 'a_b', timeout: MINUTE }, 'INVALID_MAC'],
    [{ macaddress: '../x', timeout: MINUTE }, 'INVALID_MAC'],
    [{ macaddress: '00 13 48 02 6a fe', timeout: MINUTE }, 'INVALID_MAC'],
    [{ macaddress: '001348', timeout: MINUTE }, 'INVALID_MAC'],
    [{ macaddress: MAC, timeout: 0 }, 'INVALID_TIMEOUT'],
    [{ macaddress: MAC, timeout: -1 }, 'INVALID_TIMEOUT'],
    [{ macaddress: MAC, timeout: 1.5 }, 'INVALID_BODY'],
    [{ macaddress: MAC, timeout: '100abc' }, 'INVALID_TIMEOUT'],
    [{ macaddress: MAC, timeout: 'no-time' }, 'INVALID_TIMEOUT'],
    [{ macaddress: MAC, timeout: '' }, 'INVALID_TIMEOUT'],
    [{ macaddress: MAC, timeout: null }, 'INVALID_BODY'],
    [{ macaddress: MAC, timeout: '1e5' }, 'INVALID_TIMEOUT'],
    [{ macaddress: MAC, timeout: MINUTE, publicKey: 'ssh-dss AAAA' }, 'INVALID_KEY'],
    [{ macaddress: MAC, timeout: MINUTE, publicKey: keyLine(1), type: 'rsa' }, 'INVALID_BODY'],
    [{ macaddress: MAC, timeout: MINUTE, port: 0 }, 'INVALID_BODY'],
    [{ macaddress: MAC, timeout: MINUTE, color: 'red' }, 'INVALID_BODY'],
  ])('K012 K017 K021: %o is refused before any work: %s', async (body, code) => {
    expect(await issue(body)).toMatchObject({ status: 400, body: { code, error: expect.any(String) } })
    await nothingHappened()
  })
})

const call = (
  method: 'GET' | 'POST',
  url: string,
  payload?: string,
  type = 'application/x-www-form-urlencoded',
) =>
  parts.api.inject({
    method,
    url,
    headers: {
      authorization: `Bearer ${parts.admin}`,
      ...(payload === undefined ? {} : { 'content-type': type }),
    },
    ...(payload === undefined ? {} : { payload }),
  })

describe('/api/sshKeyGen', () => {
  ownMaster()

  test.each([
    ['GET', '/api/sshKeyGen?macaddress=00:13:48:02:6A:FE&timeout=1800000', undefined],
    ['POST', '/api/sshKeyGen?macaddress=00:13:48:02:6A:FE&timeout=1800000', undefined],
    ['POST', '/api/sshKeyGen', 'macaddress=00%3A13%3A48%3A02%3A6A%3AFE&timeout=1800000'],
    ['POST', '/api', 'action=sshKeyGen&macaddress=001348026AFE&timeout=1800000'],
    ['GET', '/api?action=sshKeyGen&macaddress=001348026AFE&timeout=1800000', undefined],
  ] as const)('K010 K011 K031 K102: %s %s answers {key, port} alone', async (method, url, form) => {
    const response = await call(method, url, form)
    expect(response.statusCode).toBe(200)
    expect(response.headers['cache-control']).toBe('no-store')
    const body = response.json() as { key: string; port: number }
    expect(Object.keys(body).sort()).toEqual(['key', 'port'])
    expect(body.key).toMatch(/^-----BEGIN RSA PRIVATE KEY-----/)
    expect(Math.abs(body.key.trim().length - 1_675)).toBeLessThanOrEqual(75)
    expect(body.port).toBe(20_000)
    const [lease] = (await parts.call('GET', '/leases')).body.leases
    expect(lease).toMatchObject({ device: '001348026afe', remainingMs: 1_800_000 })
  })

  test('K018 K019: null is missing too, and what the action does not know is passed over', async () => {
    const asJson = (body: object) => call('POST', '/api/sshKeyGen', JSON.stringify(body), 'application/json')
    expect((await asJson({ macaddress: null, timeout: 1_000 })).json().error).toBe(
      'macaddress is a required parameter for this action',
    )
    const more = { macaddress: MAC, timeout: 60_000, port: 20_777, publicKey: 'x', type: 'ed25519' }
    expect((await asJson(more)).json()).toMatchObject({ port: 20_000, key: expect.stringContaining('RSA') })
  })

  test('K007 K024 K045: behind a token; another action is unknown; no port has its words', async () => {
    const path = '/api/sshKeyGen?macaddress=001348026afe&timeout=1000'
    expect((await parts.api.inject({ method: 'GET', url: path })).statusCode).toBe(401)
    expect((await call('GET', '/api?action=status')).json().error).toBe(
      'unknown action or invalid apiVersion',
    )
    parts.leaseSlaves.one().forwardPorts = { first: 20_000, last: 20_000 }
    parts.leaseSlaves.one().occupied.add(20_000)
    const full = await call('GET', path)
    expect([full.statusCode, full.json().error]).toEqual([
      503,
      'There is no port available for the reverse ssh connection.',
    ])
  })
})

describe('/api/sshKeyGen refuses', () => {
  oneMaster()

  test.each([
    ['K013', '', 'macaddress is a required parameter for this action'],
    ['K014', 'timeout=1000', 'macaddress is a required parameter for this action'],
    ['K015', 'macaddress=001348026afe', 'timeout is a required parameter for this action'],
    ['K016', 'macaddress=001348026afe&timeout=no-time', 'The timeout provided is not valid.'],
    ['K016', 'macaddress=001348026afe&timeout=0', 'The timeout provided is not valid.'],
    ['K016', 'macaddress=001348026afe&timeout=-1', 'The timeout provided is not valid.'],
    ['K017', 'macaddress=001348026afe&timeout=100abc', 'The timeout provided is not valid.'],
    ['K018', 'macaddress=&timeout=1000', 'macaddress is a required parameter for this action'],
    ['K018', 'macaddress=001348026afe&timeout=', 'timeout is a required parameter for this action'],
    ['K021', 'macaddress=a_b&timeout=1000', 'The macaddress provided is not valid.'],
    ['K022', 'macaddress=001348026afe&timeout=86400001', 'The timeout provided is not valid.'],
  ])('%s: "%s" is 400, with the words that clients know', async (_row, words, error) => {
    for (const response of [
      await call('GET', `/api/sshKeyGen?${words}`),
      await call('POST', '/api/sshKeyGen', words),
    ]) {
      expect(response.statusCode).toBe(400)
      expect(response.json()).toMatchObject({ error })
    }
    await nothingHappened()
  })
})

async function nothingElse(leases: number): Promise<void> {
  expect((await parts.store.scan({ kind: 'lease', limit: 10 })).records).toHaveLength(leases)
}
