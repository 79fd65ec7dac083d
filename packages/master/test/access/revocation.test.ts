import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { fingerprint, keyLine } from '../key-lines.ts'
import { startParts } from '../master-parts.ts'
import { gateSlave, online, person, type Parts } from './fixture.ts'

let parts: Parts
beforeEach(async () => {
  parts = await startParts()
  parts.gateSlaves.set('eu-1', gateSlave('eu-1', { region: 'eu' }))
  await online(parts, 'pump-1')
  await person(parts, 'ann', 1)
  await parts.call('POST', '/targets', { name: 'db', address: '198.51.100.9' })
  await parts.call('POST', '/pools', { name: 'a', members: ['pump-1', 'db'], users: ['ann'] })
  await parts.call('POST', '/pools', { name: 'empty' })
  await parts.call('POST', '/gates', { name: 'eu', host: 'eu.example.com', region: 'eu' })
})
afterEach(() => parts.close())

/** What the change tells slaves, and by which number; the store counts no further than it was told. */
async function told(method: 'POST' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<unknown[]> {
  const before = await parts.store.lastInvalidation()
  const { cluster } = parts
  const from = cluster.numbers.length
  const { status, body: answer } = await parts.call(method, path, body)
  expect(status, JSON.stringify(answer)).toBeLessThan(300)
  const numbers = cluster.numbers.slice(from)
  const rose = (await parts.store.lastInvalidation()) - before
  expect(numbers, path).toEqual(Array.from({ length: rose }, (_, n) => before + n + 1))
  return cluster.invalidated.slice(from)
}

const anns = fingerprint(1)
const idOf = async (path: string): Promise<string> => (await parts.call('GET', path)).body.grants[0].id

describe('a change that takes something away is numbered in the step that makes it', () => {
  const cases: [string, () => Promise<unknown[]>, unknown[]][] = [
    [
      'a grant that changes',
      async () => told('PATCH', `/grants/${await idOf('/grants?user=ann')}`, { account: 'x' }),
      [[anns]],
    ],
    ['a grant that goes', async () => told('DELETE', `/grants/${await idOf('/grants?user=ann')}`), [[anns]]],
    ['a pool member that goes', () => told('DELETE', '/pools/a/members/pump-1'), [[anns]]],
    ['a pool that goes', () => told('DELETE', '/pools/a'), [[anns]]],
    ['a pool of nobody that goes', () => told('DELETE', '/pools/empty'), [[]]],
    ['a selector that changes', () => told('PATCH', '/pools/a', { selector: { region: 'us' } }), [[anns]]],
    ['a host that moves', () => told('PATCH', '/targets/db', { address: '198.51.100.8' }), [[anns]]],
    ['a host that goes', () => told('DELETE', '/targets/db'), [[anns]]],
    ['a target that gets a gate', () => told('POST', '/gates/eu/targets', { target: 'db' }), [[anns]]],
    ['a key that comes', () => told('POST', '/users/ann/keys', { key: keyLine(2) }), [[fingerprint(2)]]],
    ['a key that goes', () => told('DELETE', `/users/ann/keys/${encodeURIComponent(anns)}`), [[anns]]],
    ['keys that are revoked', () => told('POST', '/users/ann/revoke'), [[anns]]],
    ['a user who goes', () => told('DELETE', '/users/ann'), [[anns]]],
    ['a project that is closed', () => told('PATCH', '/projects/default', { state: 'closed' }), [[anns]]],
  ]
  for (const [what, act, expected] of cases)
    test(what, async () => {
      expect(await act()).toEqual(expected)
    })

  test('a gate that moves to another region, and one that lets a target go', async () => {
    await parts.call('POST', '/gates/eu/targets', { target: 'db' })
    expect(await told('PATCH', '/gates/eu', { region: 'us' })).toEqual([[anns]])
    expect(await told('DELETE', '/gates/eu/targets/db')).toEqual([[anns]])
  })

  test('and what takes nothing from anybody is not numbered', async () => {
    expect(await told('PATCH', '/users/ann', { name: 'Ann' })).toEqual([])
    expect(await told('PATCH', '/pools/a', { title: 'A' })).toEqual([])
    expect(await told('PATCH', '/targets/db', { hostKeys: [keyLine(9)] })).toEqual([])
    expect(await told('POST', '/users', { email: 'bob@example.com' })).toEqual([])
    expect(await told('POST', '/gates/eu/targets', { target: 'pump-1' })).toEqual([[anns]])
    expect(await told('POST', '/gates/eu/targets', { target: 'pump-1' })).toEqual([])
  })
})
