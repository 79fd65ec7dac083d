import { expect, test } from 'vitest'

import { Contests } from '../../src/cluster/contests.ts'

test('three contested take-overs within ten minutes are a dispute, two are not', () => {
  let now = 0
  const contests = new Contests(() => now)
  for (const at of [0, 200_000]) {
    now = at
    contests.note('a')
  }
  expect(contests.disputed('a')).toBe(false)
  now = 599_999
  contests.note('a')
  expect(contests.disputed('a')).toBe(true)
  expect(contests.disputed('b')).toBe(false)
})

test('a dispute is over when the oldest contest is ten minutes old', () => {
  let now = 0
  const contests = new Contests(() => now)
  for (const at of [0, 1_000, 2_000]) {
    now = at
    contests.note('a')
  }
  now = 599_999
  expect(contests.disputed('a')).toBe(true)
  now = 600_000
  expect(contests.disputed('a')).toBe(false)
})

test('a flood of holders pushes out the oldest, not the newest', () => {
  const contests = new Contests(() => 0)
  for (let time = 0; time < 3; time++) contests.note('old')
  for (let i = 0; i < 99_999; i++) contests.note(`holder ${i}`)
  expect(contests.disputed('old')).toBe(true)
  contests.note('one more')
  expect(contests.disputed('old')).toBe(false)
})
