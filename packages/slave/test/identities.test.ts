import type { WhoAnswer, WhoQuestion } from '@sshoal/shared'
import { fingerprintOf } from '@sshoal/shared'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { Identities } from '../src/identities.ts'
import { log } from './fixture.ts'

const question = (more: Partial<WhoQuestion> = {}): WhoQuestion => ({
  publicKey: Buffer.from('key a').toString('base64'),
  username: 'pi',
  remoteAddress: '192.0.2.1',
  ...more,
})
const fingerprint = fingerprintOf(Buffer.from('key a'))
const known = (device: string, more: object = {}): WhoAnswer => ({
  outcome: 'known',
  identity: { device: { project: 'default', device } },
  cacheMs: 60_000,
  staleMs: 3_600_000,
  addressBound: false,
  ...more,
})
const refused: WhoAnswer = { outcome: 'refused', code: 'KEY_UNKNOWN', reason: 'no' }
const outage: WhoAnswer = { outcome: 'outage', reason: 'the hook threw' }

let answer: WhoAnswer | Error
let asked: WhoQuestion[]
let identities: Identities
beforeEach(() => {
  vi.useFakeTimers()
  asked = []
  identities = new Identities({
    ask: (q) => {
      asked.push(q)
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
    },
    log,
  })
})
afterEach(() => vi.useRealTimers())

/** The device that is recognised, or the outcome. */
async function who(more: Partial<WhoQuestion> = {}, fresh = false): Promise<string> {
  const recognition = await identities.who(question(more), { fresh })
  return recognition.outcome === 'known'
    ? (recognition.identity.device?.device ?? 'nobody')
    : recognition.outcome
}

describe('what is remembered', () => {
  test('while the hook is out a user is known, and the device that the key was stays known beside it', async () => {
    const user = { project: 'default', user: 'u-1', login: 'ann' }
    const userAlone: WhoAnswer = {
      outcome: 'known',
      identity: { user },
      cacheMs: 0,
      staleMs: 0,
      addressBound: false,
      outage: 'the hook threw',
    }
    answer = userAlone
    expect(await who()).toBe('nobody')
    answer = known('a')
    expect(await who()).toBe('a')
    vi.advanceTimersByTime(60_000)
    answer = userAlone
    for (const _ of [1, 2])
      expect(await identities.who(question())).toEqual({
        outcome: 'known',
        identity: { user, device: { project: 'default', device: 'a' } },
        outage: 'the hook threw',
      })
    vi.advanceTimersByTime(3_600_000)
    expect(await who()).toBe('nobody')
  })

  test('T045: a positive answer counts for as long as it says', async () => {
    answer = known('a')
    expect(await who()).toBe('a')
    answer = known('b')
    vi.advanceTimersByTime(59_999)
    expect(await who()).toBe('a')
    expect(asked).toHaveLength(1)
    vi.advanceTimersByTime(1)
    expect(await who()).toBe('b')
    expect(identities.counters).toMatchObject({ fresh: 1, asked: 2 })
  })

  test('T047: a refusal is never remembered: a key that is accepted a moment later is let in', async () => {
    answer = refused
    expect(await who()).toBe('refused')
    answer = known('a')
    expect(await who()).toBe('a')
    expect(identities.size).toBe(1)
  })

  test('each user name is asked about by itself', async () => {
    answer = known('a')
    await who()
    answer = known('b')
    expect(await who({ username: 'root' })).toBe('b')
    expect(await who()).toBe('a')
  })

  test('an answer that looked at the address is none for another address', async () => {
    answer = known('a', { addressBound: true })
    await who()
    answer = refused
    expect(await who({ remoteAddress: '198.51.100.1' })).toBe('refused')
    expect(await who()).toBe('a')
  })

  test('an answer counts no longer than the key', async () => {
    const expiresAt = Date.now() + 5_000
    answer = known('a', { identity: { device: { project: 'default', device: 'a', expiresAt } } })
    await who()
    answer = outage
    vi.advanceTimersByTime(4_999)
    expect(await who()).toBe('a')
    vi.advanceTimersByTime(1)
    expect(await who()).toBe('outage')
  })

  test('one key under endless user names does not fill the memory', async () => {
    answer = known('a')
    for (let i = 0; i < 1_000; i++) await who({ username: `user ${i}` })
    expect(identities.size).toBe(1)
    await who({ username: 'user 999' })
    expect(asked).toHaveLength(1_000)
  })

  test('asking for a fresh answer passes by what is remembered', async () => {
    answer = known('a')
    await who()
    answer = known('b')
    expect(await who({}, true)).toBe('b')
    expect(await who()).toBe('b')
  })
})

describe('nobody can answer', () => {
  test('T050: an unknown key gets a clear outage, and never an exception', async () => {
    for (const problem of [outage, new Error('LINK_LOST'), new TypeError('broken')]) {
      answer = problem
      expect(await who()).toBe('outage')
    }
    expect(identities.counters.outages).toBe(3)
  })

  test('an asker that throws at once is an outage too', async () => {
    const broken = new Identities({
      ask: () => {
        throw new Error('sync')
      },
      log,
    })
    await expect(broken.who(question())).resolves.toMatchObject({ outcome: 'outage' })
  })

  test('the last positive answer counts up to its stale limit', async () => {
    answer = known('a')
    await who()
    answer = new Error('LINK_LOST')
    vi.advanceTimersByTime(3_599_999)
    expect(await who()).toBe('a')
    expect(identities.counters.stale).toBe(1)
    vi.advanceTimersByTime(1)
    expect(await who()).toBe('outage')
  })

  test('T049: after a refusal no older answer counts any more', async () => {
    answer = known('a')
    await who()
    vi.advanceTimersByTime(60_000)
    answer = refused
    expect(await who()).toBe('refused')
    answer = outage
    expect(await who()).toBe('outage')
  })
})

describe('invalidations', () => {
  test('a key that is invalidated is forgotten, also as a stale answer; others are not', async () => {
    const other = question({ publicKey: Buffer.from('key b').toString('base64') })
    answer = known('a')
    await who()
    await identities.who(other)
    identities.invalidate([fingerprint])
    answer = outage
    expect(await who()).toBe('outage')
    expect((await identities.who(other)).outcome).toBe('known')
    identities.invalidate(null)
    expect((await identities.who(other)).outcome).toBe('outage')
  })

  test.each([[[fingerprint]], [null]])(
    'one that comes while its key is asked about (%j) asks again',
    async (keys) => {
      const answers = [known('old'), known('new')]
      let release = (): void => {}
      let rounds = 0
      const slow = new Identities({
        ask: async () => {
          const mine = answers[rounds++] ?? refused
          if (rounds === 1) await new Promise<void>((resolve) => (release = resolve))
          return mine
        },
        log,
      })
      const recognition = slow.who(question())
      slow.invalidate(keys)
      release()
      await expect(recognition).resolves.toMatchObject({ identity: { device: { device: 'new' } } })
      expect(rounds).toBe(2)
      await expect(slow.who(question())).resolves.toMatchObject({ identity: { device: { device: 'new' } } })
      expect(rounds).toBe(2)
    },
  )

  test('a storm of invalidations ends, and its answer is not remembered', async () => {
    let rounds = 0
    const stormy: Identities = new Identities({
      ask: () => {
        rounds++
        stormy.invalidate([fingerprint])
        return Promise.resolve(known('a'))
      },
      log,
    })
    await expect(stormy.who(question())).resolves.toMatchObject({ outcome: 'known' })
    expect(rounds).toBe(3)
    expect(stormy.size).toBe(0)
  })
})
