import { afterEach, expect, test } from 'vitest'

import { Health } from '../../src/health.ts'
import { startParts } from '../master-parts.ts'

let close: () => Promise<void> | void = () => {}
afterEach(async () => {
  await close()
})

test('K110: the detailed form says id, uptime, name, version, memory, delay and problems, to an operator', async () => {
  const parts = await startParts()
  close = () => parts.close()
  expect((await parts.call('GET', '/healthz')).body).not.toHaveProperty('problems')
  const { status, body } = await parts.call(
    'GET',
    '/healthz?detail=1',
    null,
    await parts.token('operator', 'default'),
  )
  expect(status).toBe(200)
  expect(body).toMatchObject({
    status: 'ok',
    id: 'm1',
    name: 'sshoal master',
    description: expect.any(String),
    version: '0.1.0',
    uptimeMs: expect.any(Number),
    memoryMB: expect.any(Number),
    eventLoopDelayMs: expect.any(Number),
    queue: 0,
    problems: [],
  })
  expect(body.memoryMB).toBe(Math.round(body.memoryMB * 100) / 100)
  expect((await parts.api.inject('/healthz?detail=1')).statusCode).toBe(401)
  const integrator = await parts.token('integrator', 'default')
  expect((await parts.call('GET', '/healthz?detail=1', null, integrator)).status).toBe(403)
})

test('K111 K114: more heap than allowed is unhealthy, and says so', async () => {
  const parts = await startParts({ health: { memoryMB: 1 } })
  close = () => parts.close()
  const { body } = await parts.call('GET', '/healthz?detail=true')
  expect(body).toMatchObject({
    status: 'unhealthy',
    problems: [expect.stringContaining('Using more than 1MB of RAM/HEAP')],
  })
})

test('K112 K114: a blocked event loop is seen, and K113: so is work that waits', async () => {
  let waiting = 0
  const health = new Health({
    limits: { memoryMB: 10_000, delayMs: 10, queue: 1_000 },
    queue: () => waiting,
    heap: () => 1,
  })
  close = () => health.close()
  const until = performance.now() + 400
  while (performance.now() < until);
  await expect
    .poll(() => health.report().problems)
    .toEqual([expect.stringContaining('EventLoop blocked for more than 10ms')])
  expect(health.report().eventLoopDelayMs).toBeGreaterThan(10)
  waiting = 1_001
  expect(health.report()).toMatchObject({ queue: 1_001 })
  expect(health.report().problems.at(-1)).toBe('More than 1000 ends of leases wait: 1001')
  waiting = 1_000
  expect(health.report().problems).toHaveLength(1)
})
