import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { Keepalive, type Watched } from '../src/keepalive.ts'

interface Peer extends Watched {
  lastHeardAt: number
  pings: number
  silentAt: number | undefined
}

let keepalive: Keepalive
let startedAt: number
beforeEach(() => {
  vi.useFakeTimers()
  startedAt = performance.now()
  keepalive = new Keepalive()
})
afterEach(() => {
  keepalive.close()
  vi.restoreAllMocks()
  vi.useRealTimers()
})

/** Answers each keepalive after `answersMs`, or never. */
function peer(answersMs?: number): Peer {
  const one: Peer = {
    lastHeardAt: performance.now(),
    pings: 0,
    silentAt: undefined,
    ping: () => {
      one.pings++
      if (answersMs !== undefined) setTimeout(() => (one.lastHeardAt = performance.now()), answersMs)
    },
    onSilent: () => (one.silentAt = performance.now() - startedAt),
  }
  return one
}

describe('who is cut', () => {
  test('T094: a connection that gives no sign of life is cut after interval * (max + 1)', () => {
    const gone = peer()
    keepalive.watch(gone, 15_000, 3)
    vi.advanceTimersByTime(59_000)
    expect(gone).toMatchObject({ pings: 3, silentAt: undefined })
    vi.advanceTimersByTime(2_000)
    expect(gone).toMatchObject({ pings: 3, silentAt: 60_000 })
    vi.advanceTimersByTime(600_000)
    expect(gone.pings).toBe(3)
  })

  test.each([
    [1_000, 1],
    [2_000, 3],
    [20_000, 1],
    [7_200_000, 1],
  ])('an interval of %i ms and %i unanswered end in time', (intervalMs, max) => {
    const gone = peer()
    keepalive.watch(gone, intervalMs, max)
    vi.advanceTimersByTime(intervalMs * (max + 1) + 1_000)
    expect(gone.silentAt).toBeGreaterThanOrEqual(intervalMs * (max + 1) - 500)
  })

  test('a connection that answers is never cut', () => {
    const there = peer(900)
    keepalive.watch(there, 15_000, 3)
    vi.advanceTimersByTime(3_600_000)
    expect(there.silentAt).toBeUndefined()
    expect(there.pings).toBeGreaterThan(200)
  })

  test('an answer starts the count anew', () => {
    const slow = peer()
    keepalive.watch(slow, 10_000, 2)
    for (let round = 0; round < 10; round++) {
      vi.advanceTimersByTime(25_000)
      slow.lastHeardAt = performance.now()
    }
    expect(slow.silentAt).toBeUndefined()
  })

  test('a connection that talks is never asked', () => {
    const busy = peer()
    keepalive.watch(busy, 15_000, 3)
    const talk = setInterval(() => (busy.lastHeardAt = performance.now()), 4_000)
    vi.advanceTimersByTime(600_000)
    clearInterval(talk)
    expect(busy).toMatchObject({ pings: 0, silentAt: undefined })
  })

  test('an interval of 0 asks nobody', () => {
    const one = peer()
    keepalive.watch(one, 0, 3)
    vi.advanceTimersByTime(3_600_000)
    expect(one).toMatchObject({ pings: 0, silentAt: undefined })
  })

  test('who is watched no more is neither asked nor cut', () => {
    const one = peer()
    const unwatch = keepalive.watch(one, 1_000, 3)
    vi.advanceTimersByTime(1_500)
    unwatch()
    unwatch()
    vi.advanceTimersByTime(600_000)
    expect(one).toMatchObject({ pings: 1, silentAt: undefined })
  })

  test('one that is cut may stop watching itself and others meanwhile', () => {
    const other = peer()
    const first = peer()
    const unwatches = [other, first].map((one) => keepalive.watch(one, 1_000, 1))
    first.onSilent = () => unwatches.forEach((unwatch) => unwatch())
    vi.advanceTimersByTime(60_000)
    expect(first.pings).toBe(1)
  })
})

describe('a process that was stopped', () => {
  test.each([30_000, 600_000, 86_400_000])(
    'for %i ms reads what waits in its sockets before it cuts anybody',
    (stoppedMs) => {
      const one = peer()
      const gone = peer()
      keepalive.watch(one, 15_000, 1)
      keepalive.watch(gone, 15_000, 1)
      vi.advanceTimersByTime(20_000) // both were asked
      const real = performance.now.bind(performance)
      vi.spyOn(performance, 'now').mockImplementation(() => real() + stoppedMs)
      vi.advanceTimersByTime(1_000)
      expect([one.silentAt, gone.silentAt]).toEqual([undefined, undefined])
      one.lastHeardAt = performance.now() // its answer waited in the socket
      vi.advanceTimersByTime(14_000)
      expect(one.silentAt).toBeUndefined()
      vi.advanceTimersByTime(30_000)
      expect(gone.silentAt).toBeDefined()
    },
  )

  test('a loop that is busy for two seconds loses no time', () => {
    const gone = peer()
    keepalive.watch(gone, 15_000, 1)
    const real = performance.now.bind(performance)
    let late = 0
    vi.spyOn(performance, 'now').mockImplementation(() => real() + late)
    vi.advanceTimersByTime(5_000)
    late = 2_000
    vi.advanceTimersByTime(26_000)
    expect(gone.silentAt).toBeDefined()
  })
})
