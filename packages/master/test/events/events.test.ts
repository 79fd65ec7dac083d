import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { Events, type ClusterEvent } from '../../src/events/events.ts'

const minute = 60_000

function timed(options: { keep?: number; keepMs?: number } = {}) {
  const clock = { now: Date.UTC(2030, 0, 1) }
  const events = new Events({ ...options, now: () => clock.now })
  const seen: ClusterEvent[] = []
  events.subscribe((event) => seen.push(event))
  return { clock, events, seen }
}

describe('events', () => {
  it('have ids that rise, within a moment and over a restart', () => {
    const { clock, events, seen } = timed()
    for (let n = 0; n < 3; n++) events.publish('tunnel.up', { n })
    events.close()
    clock.now += 1
    const later = new Events({ now: () => clock.now })
    later.subscribe((event) => seen.push(event))
    later.publish('tunnel.up', { n: 3 })
    later.close()
    const ids = seen.map(({ id }) => id)
    expect(ids).toEqual(ids.toSorted((a, b) => a - b))
    expect(new Set(ids).size).toBe(4)
    expect(ids.every(Number.isSafeInteger)).toBe(true)
  })

  it('resume behind an id, and say so when something between is gone', () => {
    const { events, seen } = timed({ keep: 3 })
    const start = events.lastId
    for (let n = 0; n < 3; n++) events.publish('e', { n })
    expect(events.after(start, 10)).toMatchObject({ gap: false, events: seen })
    expect(events.after(seen[1]?.id ?? 0, 10).events).toEqual([seen[2]])
    expect(events.after(seen[0]?.id ?? 0, 1).events).toEqual([seen[1]])
    expect(events.after(events.lastId, 10)).toMatchObject({ gap: false, events: [] })
    events.publish('e', { n: 3 })
    const late = events.after(start, 10)
    expect(late).toMatchObject({ gap: true, goneUpTo: seen[0]?.id, events: seen.slice(1) })
    expect(events.after(late.goneUpTo, 10).gap).toBe(false)
    for (const id of [-1, 0, Number.NaN, events.lastId + 1]) expect(events.after(id, 10).gap).toBe(true)
    events.close()
  })

  it('are kept for their time', () => {
    const { clock, events } = timed({ keepMs: minute })
    const start = events.lastId
    events.publish('e', {})
    clock.now += minute + 1
    events.publish('e', {})
    expect(events.after(start, 10)).toMatchObject({ gap: true, events: [{ type: 'e' }] })
    events.close()
  })

  it('fold to one per type, source and reason a minute, with a count', () => {
    const { clock, events, seen } = timed()
    const refuse = (source: string, reason = 'KEY_UNKNOWN') =>
      events.publish('device.refused', { source }, { source, reason })
    for (let n = 0; n < 5; n++) refuse('a')
    refuse('b')
    refuse('a', 'WRONG_REGION')
    expect(seen.map(({ data }) => data)).toEqual([
      { source: 'a', count: 1 },
      { source: 'b', count: 1 },
      { source: 'a', count: 1 },
    ])
    clock.now += minute
    events.sweep()
    expect(seen).toHaveLength(4)
    expect(seen[3]?.data).toEqual({ source: 'a', count: 4 })
    clock.now += minute
    events.sweep()
    refuse('a')
    expect(seen).toHaveLength(5)
    expect(seen[4]?.data).toMatchObject({ count: 1 })
    events.close()
  })

  it('lose no refusal in folding: the counts add up, whatever the times', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 90_000 }), fc.integer({ min: 0, max: 2 }))),
        (steps) => {
          const { clock, events, seen } = timed()
          for (const [wait, source] of steps) {
            clock.now += wait
            if (wait % 2) events.sweep()
            events.publish('r', {}, { source: String(source), reason: 'x' })
          }
          for (let n = 0; n < 2; n++) {
            clock.now += minute
            events.sweep()
          }
          events.close()
          const total = seen.reduce((sum, { data }) => sum + (data as { count: number }).count, 0)
          expect(total).toBe(steps.length)
        },
      ),
      { numRuns: 50 },
    )
  })

  it('fold a flood from many sources together', () => {
    const { events, seen } = timed()
    for (let n = 0; n < 12_000; n++) events.publish('r', {}, { source: `s${n}`, reason: 'x' })
    expect(seen.length).toBeLessThanOrEqual(10_001)
    events.close()
  })
})
