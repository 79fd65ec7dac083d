// What operators rely on: numbers, health, a described interface; and that nothing which comes in wrong breaks anything.

import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'

import {
  callApi,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  runSshoal,
  startCluster,
  startEcho,
  startSlave,
  visit,
  type Cluster,
  type Slave,
} from '../kit/index.ts'

let cluster: Cluster
let slave: Slave
let folder: string

beforeAll(async () => {
  folder = makeFolder()
  cluster = await startCluster({ slaveFlags: ['--penalty', '0'] })
  const [only] = cluster.slaves
  if (only === undefined) throw new Error('no slave')
  slave = only
})

/** Samples of a Prometheus text, by name with labels. */
async function metrics(url: string): Promise<Map<string, number>> {
  const answer = await callApi<string>({ url }, 'GET', '/metrics')
  expect(answer.headers.get('content-type')).toContain('text/plain')
  const samples = answer.body.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    samples.map((line) => {
      const space = line.lastIndexOf(' ')
      return [line.slice(0, space), Number(line.slice(space + 1))]
    }),
  )
}

describe('numbers and health', () => {
  test('master and slave count tunnels, visits and refusals under the names of the glossary', async () => {
    const key = await makeKey(folder)
    await cluster.addDevice('barn', key)
    const echo = await startEcho({ whole: true })
    const device = openDevice({ slave, key, forwards: [`0:localhost:${echo.port}`] })
    const port = await device.port()
    expect((await visit({ host: '127.0.0.1', port }, 'hello')).toString()).toBe('hello')
    await openDevice({ slave, key: await makeKey(folder) }).exited
    await callApi({ url: cluster.master.url }, 'POST', '/connect')
    await eventually(async () => {
      const [master, own] = [await metrics(cluster.master.url), await metrics(slave.statusUrl)]
      expect({
        tunnels: [master.get('sshoal_tunnels'), own.get('sshoal_tunnels')],
        ready: master.get('sshoal_slaves{state="ready"}'),
        perSlave: master.get('sshoal_slave_tunnels{slave="slave-1"}'),
        slots: master.get('sshoal_slots_total{outcome="given"}'),
        known: master.get('sshoal_hook_answers_total{outcome="known"}'),
        refused: master.get('sshoal_refusals_total{code="KEY_UNKNOWN"}'),
        up: master.get('sshoal_events_total{type="tunnel.up"}'),
        visits: [own.get('sshoal_visits'), own.get('sshoal_visits_total')],
        bytes: [
          own.get('sshoal_visit_bytes_to_device_total'),
          own.get('sshoal_visit_bytes_from_device_total'),
        ],
        logins: own.get('sshoal_logins_total{outcome="refused"}'),
        linked: own.get('sshoal_linked'),
      }).toEqual({
        tunnels: [1, 1],
        ready: 1,
        perSlave: 1,
        slots: 1,
        known: 1,
        refused: 1,
        up: 1,
        visits: [0, 1],
        bytes: [5, 5],
        logins: 1,
        linked: 1,
      })
    })
    await device.stop()
  })

  test('master and slave are alive and ready; a slave that drains is alive and not ready', async () => {
    for (const url of [cluster.master.url, slave.statusUrl])
      for (const path of ['/healthz', '/readyz'])
        expect(await callApi({ url }, 'GET', path)).toMatchObject({ status: 200 })
    const draining = await startSlave({ master: cluster.master, id: 'draining' })
    await eventually(async () => expect((await cluster.cluster()).totals.slaves).toBe(2))
    expect(await cluster.api('POST', '/cluster/slaves/draining/drain', { seconds: 60 })).toMatchObject({
      status: 202,
    })
    expect(await callApi({ url: draining.statusUrl }, 'GET', '/readyz')).toMatchObject({
      status: 503,
      body: { code: 'NOT_READY' },
    })
    expect(await callApi({ url: draining.statusUrl }, 'GET', '/healthz')).toMatchObject({ status: 200 })
    await draining.process.stop()
  })

  test('a slave that has never met a master is ready, and tells devices to try again', async () => {
    const file = join(folder, 'any-token')
    writeFileSync(file, 'sshoal_any')
    // Nobody listens there: the port is that of a slave's forward range.
    const nowhere = `http://127.0.0.1:${slave.forwardPorts.last}`
    const alone = await startSlave({ master: { url: nowhere, slaveTokenFile: file }, id: 'alone' })
    expect(await callApi({ url: alone.statusUrl }, 'GET', '/readyz')).toMatchObject({ status: 200 })
    expect(await callApi({ url: alone.statusUrl }, 'GET', '/healthz')).toMatchObject({
      body: { linked: false },
    })
    const device = openDevice({ slave: alone, key: await makeKey(folder) })
    expect((await device.exited).status).toBe(255)
    expect(device.output).toContain('try again later')
  })

  test('the interface describes itself: every reference resolves, every operation has a name, and /docs is a page', async () => {
    interface Operation {
      operationId?: string
      summary?: string
      tags?: string[]
      responses?: Record<string, unknown>
    }
    const { status, body } = await callApi<{
      openapi: string
      info: { title: string; version: string }
      paths: Record<string, Record<string, Operation>>
    }>({ url: cluster.master.url }, 'GET', '/openapi.json')
    expect(status).toBe(200)
    expect(body.openapi).toMatch(/^3\.1\./)
    expect(body.info).toMatchObject({ title: 'sshoal', version: expect.stringMatching(/^\d+\.\d+\.\d+/) })
    const operations = Object.entries(body.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, ...operation })),
    )
    const names = operations.map(({ name }) => name)
    for (const route of [
      'get /connect',
      'post /connect',
      'get /cluster',
      'get /cluster/tunnels',
      'get /cluster/events',
      'post /devices',
      'delete /devices/{id}/keys/{fingerprint}',
      'post /recheck',
      'delete /tokens/{id}',
      'get /metrics',
    ])
      expect(names).toContain(route)
    const ids = operations.map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { name, operationId, summary, tags, responses } of operations) {
      expect({ name, operationId, summary, tags }).toEqual({
        name,
        operationId: expect.stringMatching(/^[a-z][A-Za-z]+$/),
        summary: expect.stringMatching(/.../),
        tags: [expect.any(String)],
      })
      expect({ name, answers: Object.keys(responses ?? {}).some((code) => code.startsWith('2')) }).toEqual({
        name,
        answers: true,
      })
    }
    const references = [...JSON.stringify(body).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(
      ([, path = '']) => path,
    )
    expect(references.length).toBeGreaterThan(0)
    for (const reference of new Set(references)) {
      let found: unknown = body
      for (const step of reference.split('/')) {
        const name = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')
        found = (found as Record<string, unknown> | undefined)?.[name]
      }
      expect({ reference, there: found !== undefined }).toEqual({ reference, there: true })
    }
    const page = await fetch(`${cluster.master.url}/docs`)
    expect(page.status).toBe(200)
    const html = await page.text()
    expect(html).toMatch(/<title>[^<]+<\/title>/)
    // All that it needs comes from the master itself.
    const parts = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, part = '']) => part)
    expect(parts.length).toBeGreaterThan(2)
    for (const part of parts) {
      const url = new URL(part, page.url.endsWith('/') ? page.url : `${page.url}/`)
      expect({ part, host: url.host }).toEqual({ part, host: new URL(cluster.master.url).host })
      expect({ part, status: (await fetch(url)).status }).toEqual({ part, status: 200 })
    }
  })
})

describe('wrong input', () => {
  test.each([
    [
      'up',
      ['--slaves', 'many', '--listen', 'nowhere', '--forward-ports', '9-1', '--token', 'x', '--no-such-flag'],
    ],
    [
      'master',
      [
        '--listen',
        '127.0.0.1:99999',
        '--cache-ttl',
        'soon',
        '--trust-proxy',
        'everyone',
        '--region-fallback',
        'eu',
      ],
    ],
    ['slave', ['--master', 'ftp://x', '--workers', '0', '--keepalive', '-1', '--algorithms', 'all']],
  ])('of `sshoal %s` is named flag by flag, all at once, with status 2', async (role, args) => {
    const env = { SSHOAL_LOG_LEVEL: 'loud' }
    const { status, stderr } = await runSshoal([role, ...args], { cwd: folder, env })
    expect(status).toBe(2)
    for (const flag of args.filter((arg) => arg.startsWith('--'))) expect(stderr).toContain(flag)
    // The environment is a source like any other, except where a flag that is not known ends the reading.
    if (role !== 'up') expect(stderr).toContain('SSHOAL_LOG_LEVEL')
  })

  test('off loopback a master starts with TLS, a trusted proxy or --insecure-http only, and says so', async () => {
    const { status, stderr } = await runSshoal([
      'master',
      '--listen',
      '0.0.0.0:0',
      '--data',
      join(folder, 'x'),
    ])
    expect(status).not.toBe(0)
    for (const word of ['--tls-cert', '--trust-proxy', '--insecure-http']) expect(stderr).toContain(word)
  })

  const KEY = `ssh-ed25519 ${'A'.repeat(68)}`
  test.each<[string, string, number, string, unknown]>([
    ['POST', '/devices', 400, 'INVALID_JSON', '{"id": '],
    ['POST', '/devices', 400, 'INVALID_', {}],
    ['POST', '/devices', 400, 'INVALID_', { id: '' }],
    ['POST', '/devices', 400, 'INVALID_', { id: 'x'.repeat(500) }],
    ['POST', '/devices', 400, 'INVALID_', { id: 'x', surprise: true }],
    ['POST', '/devices', 400, 'INVALID_', { id: 'x', keys: 'one' }],
    ['POST', '/devices', 400, 'INVALID_KEY', { id: 'x', keys: [KEY] }],
    ['POST', '/devices', 400, 'INVALID_KEY', { id: 'x', keys: ['-----BEGIN OPENSSH PRIVATE KEY-----'] }],
    ['POST', '/devices', 400, 'INVALID_', { id: 'x', ports: [0, 70_000] }],
    ['POST', '/devices', 400, 'INVALID_', { id: 'x', keepalive: 'often' }],
    ['POST', '/devices', 400, 'INVALID_', { id: 'x', mac: 'nope' }],
    ['POST', '/devices', 404, 'UNKNOWN_REFUSED', { id: 'x', refused: `SHA256:${'A'.repeat(43)}` }],
    ['POST', '/devices', 413, 'BODY_TOO_LARGE', `"${'x'.repeat(2 << 20)}"`],
    ['PATCH', '/devices/nobody', 404, 'UNKNOWN_DEVICE', { name: 'x' }],
    ['DELETE', '/devices/nobody', 404, 'UNKNOWN_DEVICE', undefined],
    ['POST', '/recheck', 400, 'INVALID_', { keys: [] }],
    ['POST', '/recheck', 400, 'INVALID_KEY', { keys: ['x'] }],
    ['POST', '/tokens', 400, 'INVALID_', { role: 'king' }],
    ['POST', '/tokens', 400, 'INVALID_', { role: 'operator', expiresAt: 'tomorrow' }],
    ['DELETE', '/tokens/none', 404, 'UNKNOWN_TOKEN', undefined],
    ['POST', '/cluster/slaves/none/drain', 404, 'UNKNOWN_SLAVE', { seconds: 1 }],
    ['POST', '/cluster/slaves/slave-1/drain', 400, 'INVALID_', { seconds: -1 }],
    ['POST', '/connect?port=none', 400, 'INVALID_', undefined],
    ['GET', '/cluster/tunnels?limit=many', 400, 'INVALID_', undefined],
    ['GET', '/cluster/tunnels?cursor=garbage', 400, 'INVALID_', undefined],
    ['GET', '/nothing', 404, 'NOT_FOUND', undefined],
    ['PUT', '/devices', 405, 'METHOD_NOT_ALLOWED', {}],
    ['GET', '/devices/%zz', 400, 'INVALID_', undefined],
  ])('%s %s: %i %s', async (method, path, status, code, body) => {
    const answer = await cluster.api<{ code: string; error: string }>(method, path, body)
    expect({ status: answer.status, body: answer.body }).toMatchObject({
      status,
      body: { code: expect.stringContaining(code), error: expect.stringMatching(/../) },
    })
    expect(await cluster.api('GET', '/devices/x')).toMatchObject({ status: 404 })
  })

  const noise: Record<string, (n: number) => string | Buffer> = {
    nothing: () => '',
    zeros: () => Buffer.alloc(100_000),
    random: () => randomBytes(50_000),
    'a long line': () => 'SSH-2.0-'.padEnd(100_000, 'x'),
    'a version and random': () => Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), randomBytes(20_000)]),
    'a version and a huge length': () => Buffer.from('SSH-2.0-x\r\n\xff\xff\xff\xff\x00', 'latin1'),
    HTTP: () => 'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    'half of HTTP': () => 'POST /devices HTTP/1.1\r\nContent-Length: 5000\r\n\r\n{',
    'bad HTTP': () => 'GET \0 HTTP/9.9\r\n: :\r\n\r\n',
    'huge headers': () => `GET / HTTP/1.1\r\nx: ${'y'.repeat(200_000)}\r\n\r\n`,
    'a bad upgrade': () => 'GET //slaves HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    TLS: () => Buffer.from('16030100ff010000fb0303', 'hex'),
  }

  const stillWorks = async (): Promise<void> => {
    expect([cluster.master.process.exit, slave.process.exit]).toEqual([undefined, undefined])
    const key = await makeKey(folder)
    const id = `after-${key.fingerprint.slice(7, 15).replaceAll(/\W/g, '')}`
    await cluster.addDevice(id, key)
    const device = openDevice({ slave, key })
    expect(await device.port()).toBeGreaterThan(0)
    await eventually(async () => (await cluster.tunnels()).some(({ device }) => device === id))
    await device.stop()
  }

  test('bytes of all kinds on the SSH port, the HTTP port and the status port crash nothing', async () => {
    const ports = [
      slave.port,
      Number(new URL(cluster.master.url).port),
      Number(new URL(slave.statusUrl).port),
    ]
    await Promise.all(
      ports.flatMap((port) =>
        Object.values(noise).map(
          (make, n) =>
            new Promise<void>((resolve) => {
              const socket = connect({ host: '127.0.0.1', port }, () => {
                socket.write(make(n))
                // Half of them go by FIN, half by RST.
                if (n % 2 === 0) socket.end()
                else setTimeout(() => socket.resetAndDestroy(), 200)
              })
              socket
                .on('error', () => {})
                .on('close', () => resolve())
                .resume()
              setTimeout(() => socket.destroy(), 3_000).unref()
            }),
        ),
      ),
    )
    await stillWorks()
  })

  test('frames of all kinds on the slave link close that link, with a code, and crash nothing', async () => {
    const { url, slaveToken } = cluster.master
    const frames: (string | Buffer)[] = [
      'not JSON',
      '{}',
      'null',
      '[]',
      '{"type":"hello"}',
      '{"type":"hello","id":"slave-1"}',
      '{"type":"snapshot","tunnels":[],"last":true}',
      '{"type":"tunnel.up","device":"x"}',
      '{"type":"__proto__"}',
      `{"type":"who","id":1,"body":{}}`,
      `["who",1,{}]`,
      randomBytes(1_000),
      'x'.repeat(5 << 20),
    ]
    const closed = await Promise.all(
      frames.map(
        (frame) =>
          new Promise<number>((resolve) => {
            const socket = new WebSocket(`${url.replace('http', 'ws')}/slaves`, 'sshoal.v1', {
              headers: { authorization: `Bearer ${slaveToken}` },
            })
            socket.on('open', () => {
              socket.send(frame)
              socket.send('{"type":"hello"}')
            })
            socket.on('error', () => {}).on('close', (code) => resolve(code))
          }),
      ),
    )
    for (const [n, code] of closed.entries()) {
      const frame = String(frames[n]).slice(0, 40)
      expect({ frame, code: [1003, 1009, 4400, 4401, 4406, 4408].includes(code) ? 'known' : code }).toEqual({
        frame,
        code: 'known',
      })
    }
    expect((await cluster.cluster()).slaves.map(({ id, state }) => `${id} ${state}`)).toEqual([
      'slave-1 ready',
    ])
    await stillWorks()
  })
})
