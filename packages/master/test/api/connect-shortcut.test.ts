// The shortcut past the framework against the route behind it: the same bytes for whatever is asked.
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'

import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'

import { startParts, type PartsOptions } from '../master-parts.ts'

let parts: Awaited<ReturnType<typeof startParts>>
let route: Server

/** The server as it is, and one whose requests all go to the framework. */
async function start(config: PartsOptions['config'] = {}): Promise<void> {
  parts = await startParts({ config: { connectRate: 1e6, connectBurst: 1e6, ...config } })
  await parts.api.listen({ host: '127.0.0.1', port: 0 })
  route = createServer((request, response) => parts.api.routing(request, response))
  route.keepAliveTimeout = parts.api.server.keepAliveTimeout
  route.listen(0, '127.0.0.1')
  await once(route, 'listening')
}
afterEach(async () => {
  route.close()
  await parts.close()
})

/** What a server says to these bytes until it has nothing more to say, without the date. */
async function ask(server: Server, bytes: string): Promise<string> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.end(bytes)
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return text.replace(/\r\nDate: [^\r]+/g, '')
}

async function asked(bytes: string): Promise<{ shortcut: string; route: string; slots: unknown[][] }> {
  const { cluster } = parts
  cluster.slots = []
  const shortcut = await ask(parts.api.server, bytes)
  const first = cluster.slots
  cluster.slots = []
  return { shortcut, route: await ask(route, bytes), slots: [first, cluster.slots] }
}

const word = fc.constantFrom(
  'eu',
  'eu-1',
  'a%20b',
  'ü',
  'a+b',
  '',
  'x'.repeat(63),
  'x'.repeat(64),
  'true',
  '1',
)
const part = fc.oneof(
  fc
    .tuple(fc.constantFrom('region', 'format', 'port', 'other'), word)
    .map(([name, value]) => `${name}=${value}`),
  fc.constantFrom('0', '1', '22', '443', '65535', '65536', '022', '1e3', '4.5', ' 7').map((n) => `port=${n}`),
  fc.constantFrom('format=text', 'format=json', 'format=xml', 'format', 'region', '=', ''),
)
const path = fc.oneof(
  { weight: 8, arbitrary: fc.array(part, { maxLength: 4 }).map((parts) => `/connect?${parts.join('&')}`) },
  { weight: 2, arbitrary: fc.constant('/connect') },
  fc.constantFrom(
    '/connect/',
    '/connect/x',
    '/connected',
    '/Connect',
    '//connect',
    '/connect#x',
    '/connect;a=b',
  ),
)
const header = fc.constantFrom(
  'accept: text/plain',
  'accept: */*',
  'accept: application/json, text/plain',
  'content-type: application/json',
  'content-type: text/plain',
  'connection: keep-alive',
  'authorization: Bearer nobody',
  'x-forwarded-for: 203.0.113.5',
  'x-forwarded-host: public.example.org',
  'accept-version: 1.x',
  'expect: 100-continue',
)
const host = fc.constantFrom(
  'a.example.org',
  'a.example.org:8080',
  '[2001:db8::1]:80',
  '[2001:db8::1]',
  '[x',
  'a b',
  '',
)
const body = fc.constantFrom(
  '',
  '',
  '',
  'content-length: 0\r\n',
  'content-length: 2\r\n{}',
  'transfer-encoding: chunked\r\n2\r\n{}\r\n0\r\n\r\n',
)
const request = fc
  .record({
    method: fc.constantFrom('GET', 'GET', 'GET', 'POST', 'POST', 'HEAD', 'PUT', 'OPTIONS'),
    path,
    version: fc.constantFrom('1.1', '1.1', '1.0'),
    host,
    headers: fc.uniqueArray(header, { maxLength: 3, selector: (line) => line.split(':', 1)[0] }),
    body,
  })
  .map(({ method, path: url, version, host: name, headers, body: rest }) => {
    const [head = '', ...behind] = rest === '' ? [''] : rest.split(/(?<=^[^\r]*\r\n)/)
    const lines = [`host: ${name}`, ...headers].map((line) => `${line}\r\n`).join('')
    return `${method} ${encodeURI(url).replaceAll('%25', '%')} HTTP/${version}\r\n${lines}${head}\r\n${behind.join('')}`
  })

const SLOT = {
  slave: 'eu-1',
  port: 2_222,
  hostKeys: [{ algorithm: 'ssh-ed25519', publicKey: 'AAAAC3Nza' }],
  expiresInMs: 2_500,
}

test('answers what the route answers, byte for byte, and asks the cluster the same', async () => {
  await start()
  const slots = fc.constantFrom({ ...SLOT, host: 'eu-1.example.org' }, { ...SLOT, host: null }, undefined)
  await fc.assert(
    fc.asyncProperty(request, slots, async (bytes, slot) => {
      parts.cluster.slotAnswer = slot
      const { shortcut, route: routed, slots: wishes } = await asked(bytes)
      expect(shortcut).toBe(routed)
      expect(wishes[0]).toEqual(wishes[1])
    }),
    { numRuns: 300 },
  )
})

test('knows the edges of what may be asked', async () => {
  await start()
  const regions = ['', 'eu', 'EU-1', 'e.u', 'e_u', '%65u', 'e+u', 'x'.repeat(63), 'x'.repeat(64), 'null', '1']
  const ports = [
    '',
    '0',
    '1',
    '22',
    '022',
    '65535',
    '65536',
    '99999',
    '100000',
    '1e3',
    '4.5',
    '+7',
    '-1',
    '0x16',
  ]
  const formats = [
    '',
    '=',
    '&',
    '?',
    'format',
    'format=',
    'format=text',
    'format=json',
    'format=xml',
    'format=Text',
  ]
  const several = [
    'region=a&region=a',
    'port=1&port=1',
    'format=text&format=text',
    'format=text&region=a&port=1&',
  ]
  const queries = [
    ...regions.map((region) => `region=${region}`),
    ...ports.map((port) => `port=${port}`),
    ...formats,
    ...several,
  ]
  for (const query of queries) {
    const {
      shortcut,
      route: routed,
      slots,
    } = await asked(`GET /connect?${query} HTTP/1.0\r\nhost: a\r\n\r\n`)
    expect(shortcut, query).toBe(routed)
    expect(slots[0], query).toEqual(slots[1])
  }
})

test('answers several in one breath in their order', async () => {
  await start()
  const one = 'GET /connect?format=text HTTP/1.1\r\nhost: a\r\n\r\n'
  const other = 'GET /connect/x HTTP/1.1\r\nhost: a\r\n\r\n'
  const { shortcut, route: routed } = await asked(
    `${one}${other}${one}POST /connect HTTP/1.1\r\nhost: a\r\n\r\n`,
  )
  expect(shortcut).toBe(routed)
  expect(shortcut.match(/HTTP\/1\.1 \d+/g)).toEqual(
    [200, 404, 200, 200].map((status) => `HTTP/1.1 ${status}`),
  )
})

test('says the new facts of a slave at once', async () => {
  await start()
  for (const [name, port] of [
    ['one', 1],
    ['two', 1],
    ['two', 2],
  ] as const) {
    parts.cluster.slotAnswer = { ...SLOT, host: name, port }
    const answer = await ask(parts.api.server, 'GET /connect?format=text HTTP/1.0\r\n\r\n')
    expect(answer).toContain(`${name} ${port}\n${name} ssh-ed25519 AAAAC3Nza\n`)
  }
})

test('shares the limit of a source with the route, and counts alike', async () => {
  await start({ connectRate: 1, connectBurst: 2 })
  const { shortcut, route: routed } = await asked('GET /connect HTTP/1.0\r\n\r\n'.repeat(1))
  expect([shortcut, routed].map((text) => text.slice(9, 12))).toEqual(['200', '200'])
  const limited = await asked('GET /connect HTTP/1.0\r\n\r\n')
  expect(limited.shortcut).toContain(' 429 ')
  expect(limited.shortcut).toBe(limited.route)
  const text = (await parts.api.inject('/metrics')).body
  expect(text).toContain('sshoal_slots_total{outcome="given"} 2')
  expect(text).toContain('sshoal_slots_total{outcome="limited"} 2')
})

test('believes a trusted proxy and asks for the connect token, as the route does', async () => {
  await start({ trustProxy: ['127.0.0.1'], connectRate: 1, connectBurst: 1 })
  const from = (source: string) => `GET /connect HTTP/1.0\r\nx-forwarded-for: ${source}\r\n\r\n`
  const status = async (bytes: string) => (await ask(parts.api.server, bytes)).slice(9, 12)
  expect(await status(from('203.0.113.5'))).toBe('200')
  expect(await status(from('203.0.113.5'))).toBe('429')
  expect(await status(from('203.0.113.6'))).toBe('200')
  route.close()
  await parts.close()
  await start({ connectToken: 'fl33t' })
  expect(await status('GET /connect HTTP/1.0\r\n\r\n')).toBe('401')
  expect(await status('GET /connect HTTP/1.0\r\nauthorization: Bearer fl33t\r\n\r\n')).toBe('200')
})

test('a cluster that fails is an answer', async () => {
  await start()
  parts.cluster.slot = () => {
    throw new Error('broken')
  }
  const { shortcut, route: routed } = await asked('GET /connect HTTP/1.0\r\n\r\n')
  expect(shortcut).toContain(' 500 ')
  expect(shortcut).toContain('"INTERNAL"')
  expect(routed).toContain('"INTERNAL"')
})
