import { expect, test } from 'vitest'

import { fits, readSelector } from '../../src/access/selector.ts'

const pump = { region: 'eu', details: { model: 'x2', site: 7, tags: ['wet', 'old'], ok: true } }

test.each([
  [{ region: 'eu' }, true],
  [{ region: 'us' }, false],
  [{ details: { model: 'x2' } }, true],
  [{ details: { site: '7' } }, true],
  [{ details: { tags: 'old' } }, true],
  [{ details: { tags: 'dry' } }, false],
  [{ region: 'eu', details: { model: 'x2', ok: 'true' } }, true],
  [{ region: 'eu', details: { model: 'x3' } }, false],
  [{ details: { constructor: 'x' } }, false],
])('P082: a selector %j has a pump of region eu: %s', (selector, expected) => {
  expect(fits(selector, pump)).toBe(expected)
})

test('P096: an empty selector, which would be everybody, and a wrong region are refused', () => {
  expect(() => readSelector({})).toThrowError(expect.objectContaining({ code: 'INVALID_SELECTOR' }))
  expect(() => readSelector({ details: {} })).toThrowError(
    expect.objectContaining({ code: 'INVALID_SELECTOR' }),
  )
  expect(() => readSelector({ region: 'a b' })).toThrowError(
    expect.objectContaining({ code: 'INVALID_REGION' }),
  )
})
