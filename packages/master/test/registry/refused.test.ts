import { describe, expect, it } from 'vitest'

import { RefusedKeys } from '../../src/registry/refused.ts'
import { blob, fingerprint, keyLine } from '../key-lines.ts'

const refusal = { code: 'KEY_UNKNOWN', reason: 'not known', remoteAddress: '203.0.113.5', username: 'pi' }

describe('the list of refused keys', () => {
  it('folds per key and reason, counts, and remembers the first and the last time', () => {
    let now = 1_000
    const refused = new RefusedKeys(() => now)
    refused.note({ ...refusal, publicKey: blob(1) })
    now = 2_000
    refused.note({ ...refusal, publicKey: blob(2) })
    now = 3_000
    refused.note({ ...refusal, publicKey: blob(1), remoteAddress: '203.0.113.9' })
    refused.note({ ...refusal, publicKey: blob(1), code: 'WRONG_REGION' })
    refused.note(refusal) // without a key there is nothing to let in
    expect(refused.list().map(({ fingerprint, code, count }) => [fingerprint, code, count])).toEqual([
      [fingerprint(1), 'WRONG_REGION', 1],
      [fingerprint(1), 'KEY_UNKNOWN', 2],
      [fingerprint(2), 'KEY_UNKNOWN', 1],
    ])
    expect(refused.list()[1]).toMatchObject({ firstAt: 1_000, lastAt: 3_000, remoteAddress: '203.0.113.9' })
    expect(refused.keyOf(fingerprint(2))).toBe(keyLine(2))
  })

  it('keeps the last thousand, so that a flood costs no memory', () => {
    const refused = new RefusedKeys()
    for (let seed = 0; seed < 1_500; seed++) refused.note({ ...refusal, publicKey: blob(seed) })
    expect(refused.list()).toHaveLength(1_000)
    expect(refused.keyOf(fingerprint(499))).toBeUndefined()
    expect(refused.keyOf(fingerprint(500))).toBe(keyLine(500))
  })

  it('shows a project its own and nobody’s, and keys that cannot be added without a line', () => {
    const refused = new RefusedKeys()
    refused.note({ ...refusal, publicKey: blob(1), project: 'acme' })
    refused.note({ ...refusal, publicKey: blob(2), project: 'other' })
    refused.note({ ...refusal, publicKey: Buffer.from('junk').toString('base64') })
    expect(refused.list('acme').map(({ key }) => key)).toEqual([null, keyLine(1)])
    expect(refused.keyOf(fingerprint(2), 'acme')).toBeUndefined()
  })
})
