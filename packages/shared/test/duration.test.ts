import fc from 'fast-check'
import { expect, test } from 'vitest'

import { formatDuration, parseDuration } from '../src/duration.ts'
import { SshoalError } from '../src/sshoal-error.ts'

test.each([
  ['0', 0],
  ['250ms', 250],
  ['2.5s', 2_500],
  ['30s', 30_000],
  ['15m', 900_000],
  ['1h', 3_600_000],
  ['1.5d', 129_600_000],
  [' 1s ', 1_000],
])('%j is %i ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms)
})

test.each([
  '',
  '5',
  '-1s',
  '1 s',
  's',
  '1e3s',
  '1.s',
  '.5s',
  '1w',
  '99999999999999999999d',
  'Infinitys',
  '٣s',
])('%j is no duration', (text) => {
  expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'INVALID_DURATION' }))
})

test('every whole number of milliseconds survives being written and read', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (ms) => {
      expect(parseDuration(formatDuration(ms))).toBe(ms)
    }),
  )
})

test('the largest unit that fits exactly is written', () => {
  expect([86_400_000, 5_400_000, 90_000, 1_001, 0].map(formatDuration)).toEqual([
    '1d',
    '90m',
    '90s',
    '1001ms',
    '0',
  ])
})

test('any text is a whole number of milliseconds or INVALID_DURATION', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9.]{1,30}(ms|s|m|h|d)$/)), (text) => {
      try {
        expect(Number.isSafeInteger(parseDuration(text))).toBe(true)
      } catch (error) {
        if (!(error instanceof SshoalError)) throw error
        expect(error.code).toBe('INVALID_DURATION')
      }
    }),
  )
})
