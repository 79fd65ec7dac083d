import { silentLog } from '@sshoal/shared'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { createAskHook, type AskHookDeps } from '../../src/hook/ask-hook.ts'
import { HookRefusal } from '../../src/hook/hook-refusal.ts'
import type { HookContext, HookResult, ValidateDevice } from '../../src/hook/hook.ts'
import { blob, fingerprint } from '../key-lines.ts'

const now = Date.UTC(2030, 0, 1)

function asking(validate_device: ValidateDevice, deps: Partial<AskHookDeps> = {}) {
  const published: { type: string; data: object }[] = []
  const known: string[] = []
  const ask = createAskHook({
    validate_device,
    events: { publish: (type, data) => published.push({ type, data }) },
    log: silentLog(),
    regionFallback: new Map([['eu', ['us']]]),
    concurrency: 64,
    deadlineMs: 5_000,
    cacheTtlMs: 60_000,
    staleLimitMs: 3_600_000,
    onKnown: (project, device) => known.push(`${project}/${device}`),
    now: () => now,
    ...deps,
  })
  const question = {
    publicKey: blob(1),
    username: 'pi',
    remoteAddress: '203.0.113.5',
    slave: 's1',
    slaveRegion: 'eu',
  }
  return { ask: (change: object = {}) => ask({ ...question, ...change }), published, known }
}

const answering = (answer: unknown) => asking(() => answer as HookResult)

describe('asking the hook', () => {
  it('T040 hands it the key in wire form and where it came from', async () => {
    let seen: [string, HookContext] | undefined
    const { ask } = asking((publicKey, context) => {
      seen = [publicKey, context]
    })
    await ask()
    expect(seen?.[0]).toBe(blob(1))
    expect(seen?.[1]).toMatchObject({
      algorithm: 'ssh-ed25519',
      fingerprint: fingerprint(1),
      username: 'pi',
      remoteAddress: '203.0.113.5',
      slave: 's1',
    })
  })

  it('T041 T043 reads known fields and lets the rest travel as details', async () => {
    const { ask, known } = answering({
      client_key: 'pump',
      project: 'acme',
      ports: [20_001],
      maxForwards: 3,
      region: 'eu',
      keepalive: '20s',
      expiresAt: new Date(now + 120_000),
      site: { floor: 2 },
      call: () => {},
    })
    expect(await ask()).toEqual({
      outcome: 'known',
      identity: {
        device: {
          project: 'acme',
          device: 'pump',
          ports: [20_001],
          maxForwards: 3,
          keepaliveMs: 20_000,
          expiresAt: now + 120_000,
          details: { site: { floor: 2 } },
        },
      },
      cacheMs: 60_000,
      staleMs: 120_000,
      addressBound: false,
    })
    expect(known).toEqual(['acme/pump'])
  })

  it('T042 takes nothing, and an answer without client_key, for a refusal', async () => {
    for (const answer of [undefined, null, {}, { client_key: '' }, { client_key: null }, { name: 'x' }]) {
      const { ask, published } = answering(answer)
      expect(await ask()).toMatchObject({ outcome: 'refused', code: 'KEY_UNKNOWN' })
      expect(published).toEqual([])
    }
  })

  it('T049 takes a throw for an outage, and tells the operator', async () => {
    for (const hook of [
      () => Promise.reject(new Error('database is away')),
      () => {
        throw new Error('database is away')
      },
    ]) {
      const { ask, published, known } = asking(hook)
      expect(await ask()).toEqual({ outcome: 'outage', reason: 'database is away' })
      expect(published).toMatchObject([
        { type: 'hook.failed', data: { slave: 's1', reason: 'database is away' } },
      ])
      expect(known).toEqual([])
    }
  })

  it('takes a malformed answer for an outage that names the field', async () => {
    const wrong: [unknown, RegExp][] = [
      ['pump', /string/],
      [true, /boolean/],
      [[{ client_key: 'a' }], /list/],
      [{ client_key: 5 }, /client_key/],
      [{ client_key: 'a\nb' }, /client_key/],
      [{ client_key: 'x'.repeat(129) }, /client_key/],
      [{ client_key: 'a', project: 'Über' }, /project/],
      [{ client_key: 'a', ports: [70_000] }, /ports/],
      [{ client_key: 'a', ports: '20001' }, /ports/],
      [{ client_key: 'a', keepalive: 'soon' }, /duration/],
      [{ client_key: 'a', expiresAt: 'soon' }, /expiresAt/],
      [{ client_key: 'a', cacheSeconds: -1 }, /cacheSeconds/],
      [{ client_key: 'a', n: 1n }, /BigInt/],
      [{ client_key: 'a', notes: 'x'.repeat(4_097) }, /4096 are allowed/],
    ]
    for (const [answer, reason] of wrong) {
      const outcome = await answering(answer).ask()
      expect(outcome).toMatchObject({ outcome: 'outage', reason: expect.stringMatching(reason) })
    }
  })

  it('answers something, whatever the hook answers', async () => {
    await fc.assert(
      fc.asyncProperty(fc.anything(), async (answer) => {
        expect(['known', 'refused', 'outage']).toContain((await answering(answer).ask()).outcome)
      }),
    )
  })

  it('passes on a refusal with its reason', async () => {
    const { ask } = answering(new HookRefusal('SUSPENDED', 'the bill is not paid'))
    expect(await ask()).toEqual({ outcome: 'refused', code: 'SUSPENDED', reason: 'the bill is not paid' })
  })

  it('refuses a key that is no key without asking', async () => {
    let asked = 0
    const { ask } = asking(() => {
      asked++
    })
    expect(await ask({ publicKey: 'AAAA' })).toMatchObject({ outcome: 'refused', code: 'INVALID_KEY' })
    expect(asked).toBe(0)
  })

  it('refuses an answer that has ended', async () => {
    for (const expiresAt of [now, now - 1, '2029-01-01T00:00:00Z', 5])
      expect(await answering({ client_key: 'a', expiresAt }).ask()).toMatchObject({
        outcome: 'refused',
        code: 'KEY_EXPIRED',
      })
  })

  it('refuses a device of another region unless the slave is of a fallback', async () => {
    const { ask } = answering({ client_key: 'a', region: 'eu' })
    expect(await ask({ slaveRegion: 'eu' })).toMatchObject({ outcome: 'known' })
    expect(await ask({ slaveRegion: 'us' })).toMatchObject({ outcome: 'known' })
    for (const slaveRegion of ['ap', undefined, 'constructor'])
      expect(await ask({ slaveRegion })).toMatchObject({ outcome: 'refused', code: 'WRONG_REGION' })
    const { ask: other } = answering({ client_key: 'a', region: '__proto__' })
    expect(await other()).toMatchObject({ code: 'WRONG_REGION' })
  })

  it('T045 lets slaves keep an answer for the default time, for the hook’s time, never past its end', async () => {
    const cached = async (answer: object) => {
      const outcome = await answering({ client_key: 'a', ...answer }).ask()
      return outcome.outcome === 'known' ? [outcome.cacheMs, outcome.staleMs] : []
    }
    expect(await cached({})).toEqual([60_000, 3_600_000])
    expect(await cached({ cacheSeconds: 0 })).toEqual([0, 3_600_000])
    expect(await cached({ cacheSeconds: 600 })).toEqual([600_000, 3_600_000])
    expect(await cached({ cacheSeconds: 600, expiresAt: now + 5_000 })).toEqual([5_000, 5_000])
  })

  it('does not let slaves keep an answer for which the hook looked at address or slave, unless it says how long', async () => {
    for (const look of ['remoteAddress', 'slave'] as const) {
      const { ask } = asking((_key, context) => ({ client_key: context[look] }))
      expect(await ask()).toMatchObject({ outcome: 'known', cacheMs: 0, addressBound: true })
    }
    const { ask: spread } = asking((_key, context) => ({ client_key: 'a', seen: { ...context }.username }))
    expect(await spread()).toMatchObject({ addressBound: true })
    const { ask } = asking((_key, { remoteAddress }) => ({
      client_key: 'a',
      cacheSeconds: 10,
      remoteAddress,
    }))
    expect(await ask()).toMatchObject({ cacheMs: 10_000, addressBound: true })
    const { ask: none } = asking((_key, { username }) => ({ client_key: username }))
    expect(await none()).toMatchObject({ cacheMs: 60_000, addressBound: false })
  })

  it('gives up at the deadline, fires the signal, and lets others through although the hook still hangs', async () => {
    const signals: AbortSignal[] = []
    let hang = true
    const { ask, published } = asking(
      (_key, { signal }) => {
        signals.push(signal)
        return hang ? new Promise<never>(() => {}) : { client_key: 'a' }
      },
      { deadlineMs: 30, concurrency: 2 },
    )
    const outcomes = await Promise.all([ask(), ask(), ask()])
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['outage', 'outage', 'outage'])
    expect(signals.every(({ aborted }) => aborted)).toBe(true)
    expect(published).toHaveLength(3)
    hang = false
    expect(await ask()).toMatchObject({ outcome: 'known' })
  })

  it('asks no more than so many at once, and all in their order', async () => {
    let running = 0
    let most = 0
    const order: string[] = []
    const { ask } = asking(
      async (_key, { username }) => {
        most = Math.max(most, ++running)
        order.push(username)
        await new Promise((resolve) => setImmediate(resolve))
        running--
        return { client_key: username }
      },
      { concurrency: 3 },
    )
    const names = Array.from({ length: 20 }, (_, n) => `u${n}`)
    await Promise.all(names.map((username) => ask({ username })))
    expect(most).toBe(3)
    expect(order).toEqual(names)
  })
})
