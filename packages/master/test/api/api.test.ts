import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { tunnelView } from '../fake-cluster.ts'
import { blob, fingerprint, keyLine } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'

let parts: Awaited<ReturnType<typeof startParts>>

beforeAll(async () => {
  parts = await startParts()
})
afterAll(() => parts.close())

interface RouteSchema {
  operationId?: string
  tags?: string[]
  summary?: string
  security?: unknown[]
  responses: Record<string, { content?: Record<string, { schema: unknown }> }>
}

async function everyRoute(): Promise<[method: string, path: string, route: RouteSchema][]> {
  const { paths } = JSON.parse((await parts.api.inject('/openapi.json')).body) as {
    paths: Record<string, Record<string, RouteSchema>>
  }
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, route]): [string, string, RouteSchema] => [
      method.toUpperCase(),
      path,
      route,
    ]),
  )
}

describe('every route', () => {
  it('is described: an operation id of its own, a tag, a summary, schemas for its answers and errors', async () => {
    const routes = await everyRoute()
    expect(routes.length).toBeGreaterThan(20)
    const ids = routes.map(([, , { operationId }]) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    for (const [method, path, route] of routes) {
      expect([method, path, route.operationId?.length, route.tags?.length]).toEqual([
        method,
        path,
        expect.any(Number),
        1,
      ])
      expect(route.summary?.length).toBeGreaterThan(5)
      const errors = Object.entries(route.responses).filter(([status]) => status >= '400')
      if (route.security)
        expect(errors.map(([status]) => status)).toEqual(expect.arrayContaining(['401', '403']))
      for (const [, { content }] of errors)
        expect(content?.['application/json']?.schema).toEqual({ $ref: '#/components/schemas/Error' })
    }
  })

  it('needs a token unless it is for anyone, and a role that may', async () => {
    const user = await parts.token('user', 'default')
    const open = ['/connect', '/healthz', '/readyz', '/metrics']
    for (const [method, template] of await everyRoute()) {
      const url = template.replace(/\{[^}]+\}/g, 'x')
      const call = { method: method as 'GET', url }
      const anonymous = await parts.api.inject(call)
      if (open.includes(template)) expect([url, anonymous.statusCode]).toEqual([url, 200])
      else {
        expect([url, anonymous.statusCode]).toEqual([url, 401])
        expect(anonymous.headers['www-authenticate']).toContain('Bearer')
        expect(JSON.parse(anonymous.body)).toMatchObject({ code: 'UNAUTHORIZED' })
        const poor = await parts.api.inject({ ...call, headers: { authorization: `Bearer ${user}` } })
        expect([url, poor.statusCode]).toEqual([url, 403])
      }
    }
  })

  it('takes the token from the header alone', async () => {
    for (const url of [`/cluster?token=${parts.admin}`, `/cluster?access_token=${parts.admin}`])
      expect((await parts.api.inject(url)).statusCode).toBe(401)
    for (const authorization of [parts.admin, `Basic ${parts.admin}`, 'Bearer', 'Bearer x y'])
      expect((await parts.api.inject({ url: '/cluster', headers: { authorization } })).statusCode).toBe(401)
    const small = await parts.api.inject({
      url: '/cluster',
      headers: { authorization: `bearer ${parts.admin}` },
    })
    expect(small.statusCode).toBe(200)
  })

  it('sends no CORS headers', async () => {
    const answer = await parts.api.inject({ url: '/healthz', headers: { origin: 'https://evil.example' } })
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
  })
})

describe('a wrong request', () => {
  it('to nowhere is a 404, with a wrong method a 405 that says which work', async () => {
    expect(await parts.call('GET', '/nowhere')).toMatchObject({ status: 404, body: { code: 'NOT_FOUND' } })
    for (const [url, allow] of [
      ['/connect', 'GET, POST'],
      ['/devices/x/keys/y', 'DELETE'],
      ['/devices/x', 'DELETE, GET, HEAD, PATCH'],
    ]) {
      const answer = await parts.api.inject({ method: 'PUT', url: url ?? '' })
      expect([answer.statusCode, answer.headers.allow]).toEqual([405, allow])
      expect(JSON.parse(answer.body)).toMatchObject({ code: 'METHOD_NOT_ALLOWED' })
    }
  })

  it('is told every field that is wrong, once and by its path', async () => {
    const answer = await parts.call('POST', '/devices', {
      ports: ['80'],
      colour: 'red',
      keys: [{ label: 'x' }],
    })
    expect(answer).toMatchObject({ status: 400, body: { code: 'INVALID_BODY' } })
    const problems = answer.body.details.problems as { path: string; message: string }[]
    expect(problems.map(({ path }) => path)).toEqual(expect.arrayContaining(['/id', '/ports/0', '/colour']))
    expect(problems.filter(({ path }) => path === '/colour')).toHaveLength(1)
  })

  it('is a 400 with a code where the body is no JSON, no object, or poisoned', async () => {
    const send = async (payload: string, type = 'application/json') => {
      const answer = await parts.api.inject({
        method: 'POST',
        url: '/devices',
        headers: { authorization: `Bearer ${parts.admin}`, 'content-type': type },
        payload,
      })
      return [answer.statusCode, (JSON.parse(answer.body) as { code: string }).code]
    }
    expect(await send('{')).toEqual([400, 'INVALID_JSON'])
    expect(await send('[]')).toEqual([400, 'INVALID_BODY'])
    expect(await send('')).toEqual([400, 'INVALID_BODY'])
    expect(await send('{"id":"x","__proto__":{"a":1}}')).toEqual([400, 'INVALID_JSON'])
    expect(await send('<x/>', 'text/xml')).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE'])
    const form = await parts.api.inject({
      method: 'POST',
      url: '/devices',
      headers: {
        authorization: `Bearer ${parts.admin}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
      payload: 'id=x',
    })
    expect(form.json()).toMatchObject({ error: expect.stringContaining('Content-Type: application/json') })
    expect(await send(`{"id":"${'x'.repeat(2 * 1024 * 1024)}"}`)).toEqual([413, 'BODY_TOO_LARGE'])
    expect(await parts.call('GET', '/devices?limit=0')).toMatchObject({
      status: 400,
      body: { code: 'INVALID_QUERY' },
    })
    expect(await parts.call('GET', '/devices?cursor=zzz')).toMatchObject({
      status: 400,
      body: { code: 'INVALID_CURSOR' },
    })
    expect(await parts.call('GET', '/devices/%zz')).toMatchObject({
      status: 400,
      body: { code: 'INVALID_URL' },
    })
  })

  it('hears nothing from inside when something breaks', async () => {
    const secret = 'ENOSPC /var/lib/secret/path'
    const view = parts.cluster.view.bind(parts.cluster)
    parts.cluster.view = () => {
      throw new Error(secret)
    }
    const answer = await parts.call('GET', '/cluster')
    parts.cluster.view = view
    expect(answer).toMatchObject({ status: 500, body: { code: 'INTERNAL' } })
    expect(JSON.stringify(answer.body)).not.toContain('secret')
  })
})

describe('/cluster', () => {
  it('T021 shows masters, slaves and totals', async () => {
    parts.cluster.live = [tunnelView('a'), tunnelView('b', 'acme')]
    expect((await parts.call('GET', '/cluster')).body).toEqual(parts.cluster.view())
    const acme = await parts.token('operator', 'acme')
    expect((await parts.call('GET', '/cluster', null, acme)).body.totals.tunnels).toBe(1)
  })

  it('T023 lists tunnels, each token those of its project', async () => {
    parts.cluster.live = [tunnelView('a'), tunnelView('b', 'acme')]
    expect((await parts.call('GET', '/cluster/tunnels')).body).toEqual({
      tunnels: parts.cluster.live,
      next: null,
    })
    expect((await parts.call('GET', '/cluster/tunnels?project=acme&limit=1')).body.tunnels).toEqual([
      tunnelView('b', 'acme'),
    ])
    const acme = await parts.token('operator', 'acme')
    expect((await parts.call('GET', '/cluster/tunnels', null, acme)).body.tunnels).toHaveLength(1)
    expect(await parts.call('GET', '/cluster/tunnels?project=default', null, acme)).toMatchObject({
      status: 403,
      body: { code: 'FORBIDDEN' },
    })
  })

  it('drains a slave, and only for those who span all projects', async () => {
    expect(await parts.call('POST', '/cluster/slaves/eu-1/drain', { seconds: 30 })).toMatchObject({
      status: 202,
      body: { tunnels: 7 },
    })
    expect(parts.cluster.drained).toEqual([{ slave: 'eu-1', overMs: 30_000 }])
    expect(await parts.call('POST', '/cluster/slaves/no/drain', { seconds: 1 })).toMatchObject({
      status: 404,
      body: { code: 'UNKNOWN_SLAVE' },
    })
    const acme = await parts.token('admin', 'acme')
    expect((await parts.call('POST', '/cluster/slaves/eu-1/drain', { seconds: 1 }, acme)).status).toBe(403)
    expect((await parts.call('POST', '/cluster/slaves/eu-1/drain', {})).status).toBe(400)
  })
})

describe('/devices', () => {
  it('creates, shows, changes and removes a device', async () => {
    parts.cluster.live = [tunnelView('door')]
    const made = await parts.call('POST', '/devices', {
      id: 'door',
      keys: [keyLine(10, 'front'), { key: keyLine(11), label: 'spare' }],
      mac: '00:13:48:02:6A:FE',
      keepalive: 15_000,
      ports: [20_010],
    })
    expect(made).toMatchObject({
      status: 201,
      body: {
        id: 'door',
        project: 'default',
        source: 'store',
        mac: '001348026afe',
        keepalive: '15s',
        keys: [
          { fingerprint: fingerprint(10), key: keyLine(10, 'front'), label: 'front' },
          { fingerprint: fingerprint(11), label: 'spare' },
        ],
        tunnel: { device: 'door', details: { name: 'pump' } },
        lastSeen: null,
      },
    })
    parts.registry.seen('default', 'door', { where: '203.0.113.5', why: 'tunnel up' })
    expect((await parts.call('GET', '/devices/00-13-48-02-6a-fe')).body).toMatchObject({
      id: 'door',
      lastSeen: { where: '203.0.113.5', why: 'tunnel up', at: expect.stringMatching(/^\d{4}-.*Z$/) },
    })
    const changed = await parts.call('PATCH', '/devices/door', { mac: null, keepalive: '0', name: 'Door' })
    expect(changed.body).toMatchObject({ name: 'Door', keepalive: '0' })
    expect(changed.body).not.toHaveProperty('mac')
    parts.cluster.invalidateCuts = 1
    expect(
      (await parts.call('DELETE', `/devices/door/keys/${encodeURIComponent(fingerprint(10))}`)).body,
    ).toEqual({ cut: 1 })
    expect((await parts.call('POST', '/devices/door/keys', { key: keyLine(12) })).status).toBe(201)
    expect((await parts.call('DELETE', '/devices/door')).body).toEqual({ cut: 1 })
    expect(await parts.call('GET', '/devices/door')).toMatchObject({
      status: 404,
      body: { code: 'UNKNOWN_DEVICE' },
    })
  })

  it('names conflicts and their holder', async () => {
    await parts.call('POST', '/devices', { id: 'c1', keys: [keyLine(20)] })
    expect(await parts.call('POST', '/devices', { id: 'c2', keys: [keyLine(20)] })).toMatchObject({
      status: 409,
      body: { code: 'KEY_TAKEN', details: { device: 'c1' } },
    })
    expect(await parts.call('POST', '/devices', { id: 'c1' })).toMatchObject({
      status: 409,
      body: { code: 'DEVICE_EXISTS' },
    })
    expect(await parts.call('DELETE', '/devices/c1/keys/SHA256:x')).toMatchObject({
      status: 404,
      body: { code: 'UNKNOWN_KEY' },
    })
  })

  it('keeps projects apart', async () => {
    const acme = await parts.token('admin', 'acme')
    await parts.call('POST', '/devices', { id: 'mine' }, acme)
    expect((await parts.call('GET', '/devices/mine')).status).toBe(404)
    expect((await parts.call('GET', '/devices/mine?project=acme')).body.project).toBe('acme')
    expect(
      (await parts.call('GET', '/devices', null, acme)).body.devices.map(({ id }: { id: string }) => id),
    ).toEqual(['mine'])
    for (const url of ['/devices?project=default', '/devices/c1?project=default', '/tokens?project=default'])
      expect((await parts.call('GET', url, null, acme)).status).toBe(403)
    expect((await parts.call('DELETE', '/devices/c1', null, acme)).status).toBe(404)
  })

  it('lets a refused key in by its fingerprint', async () => {
    parts.refused.note({
      code: 'KEY_UNKNOWN',
      reason: 'not known',
      remoteAddress: '203.0.113.7',
      username: 'pi',
      publicKey: blob(30),
    })
    expect((await parts.call('GET', '/devices/refused')).body.refused).toMatchObject([
      { fingerprint: fingerprint(30), key: keyLine(30), code: 'KEY_UNKNOWN', username: 'pi', count: 1 },
    ])
    const made = await parts.call('POST', '/devices', { id: 'late', refused: fingerprint(30) })
    expect(made.body.keys).toMatchObject([{ fingerprint: fingerprint(30) }])
    expect(await parts.call('POST', '/devices', { id: 'never', refused: fingerprint(31) })).toMatchObject({
      status: 404,
      body: { code: 'UNKNOWN_REFUSED' },
    })
  })

  it('imports JSON lines and JSON arrays', async () => {
    const send = async (payload: string, type: string) =>
      (
        await parts.api.inject({
          method: 'POST',
          url: '/devices/import',
          headers: { authorization: `Bearer ${parts.admin}`, 'content-type': type },
          payload,
        })
      ).json<{ created: number; code?: string; problems: { line: number }[] }>()
    expect(await send('{"id":"i1"}\n{"id":"i 2"}\n', 'application/x-ndjson')).toMatchObject({
      created: 1,
      problems: [{ line: 2, code: 'INVALID_ID' }],
    })
    expect(await send('[{"id":"i3"},{"id":"i4"}]', 'application/json')).toMatchObject({
      created: 2,
      problems: [],
    })
    expect(await send('[{"id":', 'application/json')).toMatchObject({ code: 'INVALID_JSON' })
    expect(await send('', 'text/plain')).toMatchObject({ code: 'INVALID_BODY' })
  })

  it('T099 kicks a device, T100 and says so where it is not connected', async () => {
    await parts.call('POST', '/devices', { id: 'quiet' })
    parts.cluster.live = [tunnelView('loud')] // known to the hook alone, and not yet written down
    expect((await parts.call('POST', '/devices/loud/kick')).body).toEqual({ cut: 1 })
    expect(await parts.call('POST', '/devices/quiet/kick')).toMatchObject({
      status: 409,
      body: { code: 'NOT_CONNECTED' },
    })
    expect(await parts.call('POST', '/devices/nobody/kick')).toMatchObject({
      status: 404,
      body: { code: 'UNKNOWN_DEVICE' },
    })
  })

  it('asks the hook again about a device, and about keys by line or fingerprint', async () => {
    parts.cluster.invalidated = []
    parts.cluster.invalidateCuts = 2
    parts.cluster.live = [tunnelView('c1')]
    expect((await parts.call('POST', '/devices/c1/recheck')).body).toEqual({ cut: 2 })
    expect(
      (await parts.call('POST', '/recheck', { keys: [keyLine(5), fingerprint(6), fingerprint(5)] })).body,
    ).toEqual({ cut: 2 })
    expect(parts.cluster.invalidated).toEqual([
      [fingerprint(20), tunnelView('c1').fingerprint],
      [fingerprint(5), fingerprint(6)],
    ])
    expect((await parts.call('POST', '/recheck', { keys: ['nonsense'] })).body).toMatchObject({
      code: 'INVALID_KEY',
    })
    expect((await parts.call('POST', '/recheck', { keys: [] })).status).toBe(400)
  })
})

describe('/tokens', () => {
  it('shows a secret once, and forgets nobody’s rights on the way', async () => {
    const made = await parts.call('POST', '/tokens', {
      role: 'operator',
      label: 'grafana',
      expiresAt: '2099-01-01T00:00:00Z',
    })
    expect(made).toMatchObject({
      status: 201,
      body: { role: 'operator', project: 'default', label: 'grafana' },
    })
    expect(made.headers['cache-control']).toBe('no-store')
    const { token, id } = made.body
    expect((await parts.call('GET', '/cluster', null, token)).status).toBe(200)
    expect((await parts.call('GET', '/devices', null, token)).status).toBe(403)
    const list = await parts.call('GET', '/tokens')
    expect(JSON.stringify(list.body)).not.toContain(token)
    expect(list.body.tokens).toContainEqual(
      expect.objectContaining({ id, expiresAt: '2099-01-01T00:00:00.000Z' }),
    )
    expect((await parts.call('DELETE', `/tokens/${id}`)).status).toBe(204)
    expect((await parts.call('GET', '/cluster', null, token)).status).toBe(401)
    expect((await parts.call('DELETE', `/tokens/${id}`)).body).toMatchObject({ code: 'UNKNOWN_TOKEN' })
  })

  it('never makes more than its maker has', async () => {
    const acme = await parts.token('admin', 'acme')
    const make = async (body: object) => (await parts.call('POST', '/tokens', body, acme)).status
    expect(await make({ role: 'slave', project: '*' })).toBe(403)
    expect(await make({ role: 'admin', project: 'default' })).toBe(403)
    expect(await make({ role: 'operator', project: '*' })).toBe(403)
    expect(await make({ role: 'slave' })).toBe(201)
    expect(await make({ role: 'root' })).toBe(400)
    expect(await make({ role: 'user', expiresAt: 'soon' })).toBe(400)
    const foreign = (await parts.tokens.list('*'))[0]?.id ?? ''
    expect((await parts.call('DELETE', `/tokens/${foreign}`, null, acme)).status).toBe(404)
    const slave = await parts.token('slave')
    expect((await parts.call('GET', '/cluster', null, slave)).status).toBe(403)
  })
})

describe('health', () => {
  it('is alive from the start, ready once the store was read', async () => {
    parts.state.ready = false
    expect((await parts.call('GET', '/healthz')).status).toBe(200)
    expect(await parts.call('GET', '/readyz')).toMatchObject({ status: 503, body: { code: 'NOT_READY' } })
    parts.state.ready = true
    expect((await parts.call('GET', '/readyz')).body).toMatchObject({ status: 'ok', version: '0.1.0' })
  })

  it('gives numbers in the words of the glossary', async () => {
    const { body, headers } = await parts.api.inject('/metrics')
    expect(headers['content-type']).toContain('text/plain')
    for (const line of [
      'sshoal_slaves{state="ready"} 1',
      'sshoal_slave_capacity{slave="eu-1"} 100',
      'sshoal_slots_reserved 1',
    ])
      expect(body).toContain(line)
  })

  it('asks for the metrics token where one is set', async () => {
    const closed = await startParts({ config: { metricsToken: 'm3trics' } })
    const get = async (authorization?: string) =>
      (await closed.api.inject({ url: '/metrics', headers: authorization ? { authorization } : {} }))
        .statusCode
    try {
      expect(await get()).toBe(401)
      expect(await get('Bearer wrong')).toBe(401)
      expect(await get('Bearer m3trics')).toBe(200)
      expect(await get(`Bearer ${closed.admin}`)).toBe(200)
    } finally {
      await closed.close()
    }
  })

  it('has a page to read that needs nothing from elsewhere', async () => {
    const page = await parts.api.inject('/docs/')
    expect(page.statusCode).toBe(200)
    expect(page.body).not.toMatch(/(src|href)="https?:/)
    const { openapi, components } = JSON.parse((await parts.api.inject('/openapi.json')).body) as {
      openapi: string
      components: { schemas: object }
    }
    expect(openapi).toBe('3.1.0')
    expect(components.schemas).toHaveProperty('Error')
  })
})
