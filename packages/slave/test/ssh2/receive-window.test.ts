import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import {
  FAST_BYTES,
  FIRST_WINDOW_BYTES,
  MOST_WINDOW_BYTES,
  ReceiveWindow,
} from '../../src/ssh2/receive-window.ts'

const PACKET = 32 * 1024

interface Stream {
  /** How long adjustments are on their way. */
  way: number
  ms: number
  /** How long the visitor takes. */
  visitorLag?: number
  alone?: boolean
  /** Of the peer; one packet in half a millisecond is 65 MB/s. */
  packetsPerStep?: number
}

/** A peer that sends as much as it may. Answers bytes per second, and how much it could ever send at once. */
function stream({ way, ms, visitorLag = 0, alone = false, packetsPerStep = 1 }: Stream): {
  perSecond: number
  most: number
  credit: number
} {
  const window = new ReceiveWindow()
  const adjustments: { at: number; bytes: number }[] = []
  const taken: { at: number; bytes: number }[] = []
  let [credit, sent, held, most, mostCredit] = [FIRST_WINDOW_BYTES, 0, 0, 0, 0]
  for (let now = 0; now < ms; now += 0.5) {
    while (adjustments[0] !== undefined && adjustments[0].at <= now) credit += adjustments.shift()?.bytes ?? 0
    while (taken[0] !== undefined && taken[0].at <= now) {
      const bytes = taken.shift()?.bytes ?? 0
      held -= bytes
      const back = window.consumed(bytes, alone, () => now)
      if (back > 0) adjustments.push({ at: now + way, bytes: back })
    }
    mostCredit = Math.max(mostCredit, credit)
    const bytes = Math.min(credit, packetsPerStep * PACKET)
    if (bytes === 0) continue
    credit -= bytes
    sent += bytes
    held += bytes
    most = Math.max(most, held)
    expect(window.take(bytes, now)).toBe(true)
    taken.push({ at: now + visitorLag, bytes })
  }
  return { perSecond: (sent / ms) * 1_000, most, credit: mostCredit }
}

describe('the window of a channel', () => {
  test('grows until the way there and back holds the peer up no longer, and stays small where it is short', () => {
    // 512 KiB in 40 ms would be 13 MB/s, 2 MiB are 52.
    expect(stream({ way: 40, ms: 10_000 }).perSecond).toBeGreaterThan(35e6)
    expect(stream({ way: 0.5, ms: 1_000, visitorLag: 1_000 }).most).toBe(FIRST_WINDOW_BYTES)
  })

  test('does not grow for a visitor that is slow, alone or not', () => {
    expect(stream({ way: 40, ms: 10_000, visitorLag: 500 }).most).toBe(FIRST_WINDOW_BYTES)
    expect(stream({ way: 0.5, ms: 10_000, visitorLag: 50, alone: true }).most).toBe(FIRST_WINDOW_BYTES)
  })

  test('is the most for a fast visit that is alone, whose first bytes prove nothing', () => {
    const fast = { way: 0.5, packetsPerStep: 4 }
    expect(stream({ ...fast, ms: 1_000, alone: true }).credit).toBeGreaterThan(MOST_WINDOW_BYTES / 2)
    expect(stream({ ...fast, ms: 1_000 }).credit).toBe(FIRST_WINDOW_BYTES)
    expect(stream({ ...fast, ms: 50, alone: true }).credit).toBe(FIRST_WINDOW_BYTES)
  })

  test('is small again as soon as another visit comes, and grows again when it has gone', () => {
    const window = new ReceiveWindow()
    let [credit, now] = [FIRST_WINDOW_BYTES, 0]
    /** The peer sends so much, and the visitor takes it at once; what the peer may send at most then. */
    const pass = (bytes: number, alone: boolean): number => {
      let most = 0
      for (let sent = 0; sent < bytes; sent += PACKET) {
        now += 0.1
        expect(window.take(PACKET, now)).toBe(true)
        credit += window.consumed(PACKET, alone, () => now) - PACKET
        most = Math.max(most, credit)
      }
      return most
    }
    pass(2 * FAST_BYTES, true)
    expect(credit).toBeGreaterThanOrEqual(MOST_WINDOW_BYTES / 2)
    pass(MOST_WINDOW_BYTES, false)
    expect(pass(FAST_BYTES, false)).toBeLessThanOrEqual(FIRST_WINDOW_BYTES)
    expect(pass(MOST_WINDOW_BYTES, true)).toBeGreaterThan(MOST_WINDOW_BYTES / 2)
    // A second without a byte, and then as slow as that.
    now += 1_000
    pass(FIRST_WINDOW_BYTES * 8, true)
    now += 1_000
    pass(FIRST_WINDOW_BYTES * 8, true)
    expect(credit).toBeLessThanOrEqual(FIRST_WINDOW_BYTES)
  })

  test('lets nobody send more than it gave, and never holds more than its most', () => {
    const step = fc.record({
      send: fc.double({ min: 0, max: 1.2, noNaN: true }),
      take: fc.double({ min: 0, max: 1, noNaN: true }),
      wait: fc.nat(50),
      alone: fc.boolean(),
    })
    const quick = fc.record({
      send: fc.double({ min: 0.9, max: 1, noNaN: true }),
      take: fc.constant(1),
      wait: fc.constant(0),
      alone: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(fc.oneof(step, quick), { maxLength: 200 }), (steps) => {
        const window = new ReceiveWindow()
        let [credit, held, now] = [FIRST_WINDOW_BYTES, 0, 0]
        for (const { send, take, wait, alone } of steps) {
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
          credit += window.consumed(taken, alone, () => now)
          expect(credit + held).toBeLessThanOrEqual(MOST_WINDOW_BYTES)
        }
      }),
    )
  })
})
