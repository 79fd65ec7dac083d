import type { WhoAnswer } from '@sshoal/shared'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { withUsers } from '../../src/access/with-users.ts'
import { blob, keyLine } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'
import { person, type Parts } from './fixture.ts'

let parts: Parts

beforeEach(async () => {
  parts = await startParts()
})
afterEach(() => parts.close())

const device: WhoAnswer = {
  outcome: 'known',
  identity: { device: { project: 'default', device: 'pump-1' } },
  cacheMs: 60_000,
  staleMs: 3_600_000,
  addressBound: false,
}
const refused: WhoAnswer = { outcome: 'refused', code: 'KEY_UNKNOWN', reason: 'this key is not known here' }
const outage: WhoAnswer = { outcome: 'outage', reason: 'late' }

function ask(hook: WhoAnswer, seed: number, username = 'x'): Promise<WhoAnswer> {
  return parts.access.withUsers(async () => hook)({
    publicKey: blob(seed),
    username,
    remoteAddress: '192.0.2.1',
    slave: 'eu-1',
  })
}

describe('who is this key', () => {
  test('a device’s, a user’s, or both; each role comes from who knows it', async () => {
    const ann = await person(parts, 'ann', 1)
    const user = { project: 'default', user: ann.id, login: 'ann', keyLabel: 'ann laptop' }
    expect(await ask(device, 2)).toEqual(device)
    expect(await ask(device, 1)).toEqual({ ...device, identity: { ...device.identity, user } })
    expect(await ask(refused, 1)).toEqual({
      outcome: 'known',
      identity: { user },
      cacheMs: 0,
      staleMs: 3_600_000,
      addressBound: false,
    })
    expect(await ask(refused, 2)).toEqual(refused)
  })

  test('an outage of the hook keeps no person out, and is said, so that what was known of a device stands', async () => {
    const ann = await person(parts, 'ann', 1)
    expect(await ask(outage, 1)).toMatchObject({
      outcome: 'known',
      identity: { user: { user: ann.id } },
      cacheMs: 0,
      outage: 'late',
    })
    expect(await ask(outage, 2)).toEqual(outage)
  })

  test('C25: a key that is in several projects says which by its login name; without it is the usual one', async () => {
    await person(parts, 'ann', 1)
    await parts.call('POST', '/users?project=acme', { email: 'ann@acme.example', keys: [keyLine(1)] })
    await parts.call('POST', '/users?project=acme', { email: 'bob@acme.example', keys: [keyLine(2)] })
    const projectOf = async (seed: number, username: string): Promise<string | undefined> => {
      const answer = await ask(refused, seed, username)
      if (answer.outcome === 'outage') throw new Error(answer.reason)
      return answer.outcome === 'known' ? answer.identity.user?.project : answer.code
    }
    expect(await projectOf(1, 'ann')).toBe('default')
    expect(await projectOf(1, 'ann+acme')).toBe('acme')
    expect(await projectOf(1, 'a+b+acme')).toBe('acme')
    expect(await projectOf(1, 'ann+elsewhere')).toBe('KEY_UNKNOWN')
    expect(await projectOf(2, 'whoever')).toBe('acme')
  })

  test('G065 P071: a removed key is nobody’s at the next question', async () => {
    await person(parts, 'ann', 1)
    expect((await ask(refused, 1)).outcome).toBe('known')
    await parts.call('DELETE', '/users/ann')
    expect(await ask(refused, 1)).toEqual(refused)
  })

  test('a closed project lets nobody in', async () => {
    await person(parts, 'ann', 1)
    await parts.call('PATCH', '/projects/default', { state: 'closed' })
    expect(await ask(refused, 1)).toEqual(refused)
    await parts.call('PATCH', '/projects/default', { state: 'active' })
    expect((await ask(refused, 1)).outcome).toBe('known')
  })

  test('a store that does not answer is an outage for whom the hook does not know, and nothing for a device', async () => {
    const gone = { store: { state: 'away', find: () => Promise.reject(new Error('away')) } } as const
    const away = withUsers({ ...gone, projects: parts.access.projects, staleLimitMs: 1 }, async () => refused)
    const question = { publicKey: blob(1), username: 'x', remoteAddress: '192.0.2.1', slave: 'eu-1' }
    expect((await away(question)).outcome).toBe('outage')
    const known = withUsers({ ...gone, projects: parts.access.projects, staleLimitMs: 1 }, async () => device)
    expect(await known(question)).toEqual({ ...device, cacheMs: 0, usersOut: 'the store does not answer' })
  })

  test('what is no key is the hook’s matter', async () => {
    const answer = await parts.access.withUsers(async () => refused)({
      publicKey: 'AAAA',
      username: 'x',
      remoteAddress: '192.0.2.1',
      slave: 'eu-1',
    })
    expect(answer).toEqual(refused)
  })
})
