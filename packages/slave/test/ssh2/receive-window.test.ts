import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { FIRST_WINDOW_BYTES, MOST_WINDOW_BYTES, ReceiveWindow } from '../../src/ssh2/receive-window.ts'

const PACKET = 32 * 1024

/** A peer that sends as much as it may, and a visitor that takes it at once; the adjustments are `way` ms on their way. Answers bytes per second. */
function stream({ way, ms, visitorLag = 0 }: { way: number; ms: number; visitorLag?: number }): {
  perSecond: number
  most: number
} {
  const window = new ReceiveWindow()
  const adjustments: { at: number; bytes: number }[] = []
  const taken: { at: number; bytes: number }[] = []
  let [credit, sent, held, most] = [FIRST_WINDOW_BYTES, 0, 0, 0]
  for (let now = 0; now < ms; now += 0.5) {
    while (adjustments[0] !== undefined && adjustments[0].at <= now) credit += adjustments.shift()?.bytes ?? 0
    while (taken[0] !== undefined && taken[0].at <= now) {
      const bytes = taken.shift()?.bytes ?? 0
      held -= bytes
      const back = window.consumed(bytes)
      if (back > 0) adjustments.push({ at: now + way, bytes: back })
    }
    // One packet in half a millisecond: 65 MB/s.
    const bytes = Math.min(credit, PACKET)
    if (bytes === 0) continue
    credit -= bytes
    sent += bytes
    held += bytes
    most = Math.max(most, held)
    expect(window.take(bytes, now)).toBe(true)
    taken.push({ at: now + visitorLag, bytes })
  }
  return { perSecond: (sent / ms) * 1_000, most }
}

describe('the window of a channel', () => {
  test('grows until the way there and back holds the peer up no longer, and stays small where it is short', () => {
    // 512 KiB in 40 ms would be 13 MB/s, 2 MiB are 52.
    expect(stream({ way: 40, ms: 10_000 }).perSecond).toBeGreaterThan(35e6)
    expect(stream({ way: 0.5, ms: 1_000, visitorLag: 1_000 }).most).toBe(FIRST_WINDOW_BYTES)
  })

  test('does not grow for a visitor that is slow', () => {
    expect(stream({ way: 40, ms: 10_000, visitorLag: 500 }).most).toBe(FIRST_WINDOW_BYTES)
  })

  test('lets nobody send more than it gave, and never holds more than its most', () => {
    const step = fc.record({
      send: fc.double({ min: 0, max: 1.2, noNaN: true }),
      take: fc.double({ min: 0, max: 1, noNaN: true }),
      wait: fc.nat(50),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const window = new ReceiveWindow()
        let [credit, held, now] = [FIRST_WINDOW_BYTES, 0, 0]
        for (const { send, take, wait } of steps) {
          now += wait
          const bytes = Math.ceil(send * credit)
          if (!window.take(bytes, now)) {
            expect(bytes).toBeGreaterThan(credit)
            continue
          }
          expect(bytes).toBeLessThanOrEqual(credit)
          credit -= bytes
          held += bytes
          const taken = Math.floor(take * held)
          held -= taken
          credit += window.consumed(taken)
          expect(credit + held).toBeLessThanOrEqual(MOST_WINDOW_BYTES)
        }
      }),
    )
  })
})
