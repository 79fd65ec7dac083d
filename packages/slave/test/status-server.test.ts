import { Counter, Registry } from 'prom-client'
import { afterEach, beforeEach, expect, test } from 'vitest'

import { startStatusServer, type StatusServer } from '../src/status-server.ts'

let ready = true
let server: StatusServer
const registry = new Registry()
new Counter({ name: 'sshoal_test_total', help: 'h', registers: [registry] }).inc(3)

beforeEach(async () => {
  ready = true
  server = await startStatusServer(
    { host: '127.0.0.1', port: 0 },
    { registry, ready: () => ready, health: () => ({ id: 's1', tunnels: 2 }) },
  )
})
afterEach(() => server.close())

test('/healthz says who it is', async () => {
  const response = await fetch(`${server.url}/healthz?x=1`)
  expect(response.status).toBe(200)
  expect(await response.json()).toEqual({ status: 'ok', id: 's1', tunnels: 2 })
})

test('/readyz is 200 while devices are taken, 503 else', async () => {
  expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
  ready = false
  const response = await fetch(`${server.url}/readyz`)
  expect(response.status).toBe(503)
  expect(await response.json()).toMatchObject({ code: 'NOT_READY' })
})

test('/metrics is what Prometheus reads', async () => {
  const response = await fetch(`${server.url}/metrics`)
  expect(response.headers.get('content-type')).toContain('text/plain')
  expect(await response.text()).toContain('sshoal_test_total 3')
})

test('anything else is 404, and nothing can be changed', async () => {
  const missing = await fetch(`${server.url}/`)
  expect(missing.status).toBe(404)
  expect(await missing.json()).toMatchObject({ code: 'NOT_FOUND' })
  const post = await fetch(`${server.url}/healthz`, { method: 'POST' })
  expect(post.status).toBe(405)
  expect(post.headers.get('allow')).toBe('GET, HEAD')
  expect((await fetch(`${server.url}/healthz`, { method: 'HEAD' })).status).toBe(200)
})

test('an address that is taken is an error of the start', async () => {
  const listen = { host: '127.0.0.1', port: Number(new URL(server.url).port) }
  const source = { registry, ready: () => true, health: () => ({}) }
  await expect(startStatusServer(listen, source)).rejects.toMatchObject({ code: 'EADDRINUSE' })
})

test('an IPv6 address stands in brackets in the url', async () => {
  const other = await startStatusServer(
    { host: '::1', port: 0 },
    { registry, ready: () => true, health: () => ({}) },
  )
  expect((await fetch(`${other.url}/readyz`)).status).toBe(200)
  await other.close()
})
