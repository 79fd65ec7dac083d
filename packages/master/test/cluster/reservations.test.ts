import fc from 'fast-check'
import { expect, test } from 'vitest'

import { Reservations, SLOT_MS } from '../../src/cluster/reservations.ts'

test('T006: a slot holds its place for 2,500 ms', () => {
  const reservations = new Reservations()
  reservations.hold(1_000)
  expect(SLOT_MS).toBe(2_500)
  expect([1_000, 3_499, 3_500, 9_000].map((now) => reservations.count(now))).toEqual([1, 1, 0, 0])
})

test('T008: an arrival uses the oldest, and is not counted twice', () => {
  const reservations = new Reservations()
  reservations.hold(0)
  reservations.hold(1_000)
  reservations.use(1_500)
  expect(reservations.count(2_600)).toBe(1)
  expect(reservations.count(3_500)).toBe(0)
})

test('an arrival without a reservation uses none', () => {
  const reservations = new Reservations()
  reservations.use(0)
  reservations.hold(1)
  expect(reservations.count(2)).toBe(1)
})

test('whatever comes in whatever order, the count is that of a plain list', () => {
  const step = fc.record({
    what: fc.constantFrom('hold', 'use', 'count'),
    after: fc.nat(2_000),
    times: fc.nat(600),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const reservations = new Reservations()
      let plain: number[] = []
      let now = 0
      for (const { what, after, times } of steps) {
        now += after
        plain = plain.filter((end) => end > now)
        for (let i = 0; i < times; i++) {
          if (what === 'hold') {
            reservations.hold(now)
            plain.push(now + SLOT_MS)
          } else if (what === 'use') {
            reservations.use(now)
            plain.shift()
          }
        }
        expect(reservations.count(now)).toBe(plain.length)
      }
    }),
  )
})
