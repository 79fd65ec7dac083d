import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'

import { SourceRate } from '../../src/api/source-rate.ts'
import { startParts, type PartsOptions } from '../master-parts.ts'

let parts: Awaited<ReturnType<typeof startParts>>
const start = async (config: PartsOptions['config'] = {}) => (parts = await startParts({ config }))
afterEach(() => parts.close())

describe('/connect', () => {
  it('T003 answers with the slave to go to, and is never cached', async () => {
    await start()
    for (const method of ['GET', 'POST'] as const) {
      const answer = await parts.api.inject({ method, url: '/connect?region=eu&port=443' })
      expect(answer.statusCode).toBe(200)
      expect(answer.headers['cache-control']).toBe('no-store')
      expect(answer.json()).toEqual({
        slave: 'eu-1',
        host: 'eu-1.example.org',
        port: 2222,
        hostKeys: ['ssh-ed25519 AAAAC3Nza'],
        expiresInMs: 2_500,
      })
    }
    expect(parts.cluster.slots).toEqual([
      { region: 'eu', port: 443 },
      { region: 'eu', port: 443 },
    ])
  })

  it('answers in lines for a shell, by parameter or by Accept', async () => {
    await start()
    const text = 'eu-1.example.org 2222\neu-1.example.org ssh-ed25519 AAAAC3Nza\n'
    const get = (url: string, accept: string) => parts.api.inject({ url, headers: { accept } })
    expect((await get('/connect?format=text', '*/*')).body).toBe(text)
    expect((await get('/connect', 'text/plain')).body).toBe(text)
    expect((await get('/connect', 'text/plain')).headers['content-type']).toContain('text/plain')
    for (const accept of ['*/*', 'application/json', 'application/json, text/plain'])
      expect((await get('/connect', accept)).headers['content-type']).toContain('application/json')
    expect((await get('/connect?format=json', 'text/plain')).headers['content-type']).toContain('json')
  })

  it('takes whatever body a client sends along', async () => {
    await start()
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/plain']) {
      const headers = { 'content-type': type }
      for (const payload of ['', '{', 'region=eu'])
        expect(
          (await parts.api.inject({ method: 'POST', url: '/connect', headers, payload })).statusCode,
        ).toBe(200)
    }
  })

  it('gives the name by which it was asked where the slave has none of its own', async () => {
    await start({ trustProxy: ['127.0.0.1'] })
    const slot = parts.cluster.slotAnswer
    parts.cluster.slotAnswer = slot && { ...slot, host: null }
    const host = async (headers: Record<string, string>) =>
      (await parts.api.inject({ url: '/connect', headers })).json<{ host: string }>().host
    expect(await host({ host: 'tunnels.example.org:8080' })).toBe('tunnels.example.org')
    expect(await host({ host: '[2001:db8::1]:8080' })).toBe('2001:db8::1')
    expect(await host({ host: 'a', 'x-forwarded-host': 'public.example.org' })).toBe('public.example.org')
    expect(await host({ host: 'bad host\u00e9' })).toBe('localhost')
  })

  it('T009 says so where no slave is ready', async () => {
    await start()
    parts.cluster.slotAnswer = undefined
    const answer = await parts.api.inject('/connect')
    expect(answer.statusCode).toBe(503)
    expect(answer.json()).toMatchObject({ code: 'NO_SLAVE' })
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
  })

  it('refuses a port or a format that is none', async () => {
    await start()
    for (const query of ['port=0', 'port=x', 'port=70000', 'format=xml', 'region=', 'region=a&region=b'])
      expect((await parts.api.inject(`/connect?${query}`)).json()).toMatchObject({ code: 'INVALID_QUERY' })
    expect(parts.cluster.slots).toEqual([])
  })

  it('holds each source to its rate, and tells it when to come back', async () => {
    await start({ connectRate: 1, connectBurst: 3, trustProxy: ['127.0.0.1'] })
    const ask = (source: string) =>
      parts.api.inject({ url: '/connect', headers: { 'x-forwarded-for': source } })
    const statuses = []
    for (let n = 0; n < 4; n++) statuses.push((await ask('203.0.113.5')).statusCode)
    expect(statuses).toEqual([200, 200, 200, 429])
    const limited = await ask('203.0.113.5')
    expect(limited.json()).toMatchObject({ code: 'RATE_LIMITED' })
    expect(limited.headers['retry-after']).toBe('1')
    expect((await ask('203.0.113.6')).statusCode).toBe(200)
    expect(parts.cluster.slots).toHaveLength(4)
    expect((await parts.api.inject('/metrics')).body).toContain('sshoal_slots_total{outcome="limited"} 2')
  })

  it('believes no X-Forwarded-For of a stranger', async () => {
    await start({ connectRate: 1, connectBurst: 1 })
    const ask = (source: string) =>
      parts.api.inject({ url: '/connect', headers: { 'x-forwarded-for': source } })
    expect((await ask('203.0.113.5')).statusCode).toBe(200)
    expect((await ask('203.0.113.6')).statusCode).toBe(429)
  })

  it('asks for the connect token where one is set', async () => {
    await start({ connectToken: 'fl33t' })
    const ask = async (token?: string) =>
      (
        await parts.api.inject({
          url: '/connect',
          headers: token ? { authorization: `Bearer ${token}` } : {},
        })
      ).statusCode
    expect(await ask()).toBe(401)
    expect(await ask('wrong')).toBe(401)
    expect(await ask(await parts.token('user', 'default'))).toBe(401)
    expect(await ask('fl33t')).toBe(200)
    expect(await ask(parts.admin)).toBe(200)
  })
})

describe('the rate of a source', () => {
  it('never exceeds burst plus rate times time, and never refuses within it', () => {
    parts = { close: async () => {} } as typeof parts
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000 }),
        fc.integer({ min: 1, max: 50 }),
        fc.array(fc.integer({ min: 0, max: 2_000 }), { maxLength: 200 }),
        (rate, burst, waits) => {
          let now = 1_000
          const limit = new SourceRate(rate, burst, () => now)
          let tokens = burst
          for (const wait of waits) {
            now += wait
            tokens = Math.min(burst, tokens + (wait * rate) / 1_000)
            const taken = limit.take('203.0.113.5') === 0
            // Within a hundredth of a token either answer is right.
            if (Math.abs(tokens - 1) > 0.01) expect(taken).toBe(tokens > 1)
            if (taken) tokens -= 1
          }
        },
      ),
    )
  })
})
