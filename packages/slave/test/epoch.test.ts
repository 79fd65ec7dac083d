import fc from 'fast-check'
import { afterEach, expect, test, vi } from 'vitest'

import { EpochClock } from '../src/epoch.ts'

afterEach(() => vi.useRealTimers())

test('without a master an epoch is the clock of the last welcome', () => {
  vi.useFakeTimers({ now: 1_000_000 })
  const clock = new EpochClock()
  clock.set(5_000_000_000)
  vi.setSystemTime(1_000_500)
  expect(clock.mint(0)).toBe(5_000_500_000)
})

test('an epoch is above the one that stands, also when our clock is behind', () => {
  vi.useFakeTimers({ now: 1_000 })
  expect(new EpochClock().mint(9_000_000_000)).toBe(9_000_000_001)
})

test('of two newcomers in one millisecond each gets its own epoch', () => {
  vi.useFakeTimers({ now: 1_000 })
  const clock = new EpochClock()
  expect(clock.mint(0)).toBeLessThan(clock.mint(0))
})

test('epochs only rise, whatever the clocks do', () => {
  vi.useFakeTimers()
  const step = fc.record({
    now: fc.nat(2_000_000),
    master: fc.option(fc.nat(2_000_000_000)),
    last: fc.nat(3_000_000_000),
  })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const clock = new EpochClock()
      let before = 0
      for (const { now, master, last } of steps) {
        vi.setSystemTime(now)
        if (master !== null) clock.set(master)
        const epoch = clock.mint(last)
        expect(Number.isSafeInteger(epoch)).toBe(true)
        expect(epoch).toBeGreaterThan(Math.max(before, last))
        before = epoch
      }
    }),
  )
})
