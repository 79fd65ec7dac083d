import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { joinSlave, makeCluster, tunnel } from './fixture.ts'

const announced = { announced: true }

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
afterEach(() => vi.useRealTimers())

test('that announced devices are here is noted once for each, a few at a time, when no more come', () => {
  const test = makeCluster()
  const { record } = joinSlave(test, 's1')
  let next = 0
  const announce = (count: number): void => {
    for (const end = next + count; next < end; next++)
      test.cluster.live.up(record, tunnel(`d${next}`, 1), announced)
  }
  announce(1_200)
  for (let turn = 0; turn < 10; turn++) {
    announce(1)
    vi.advanceTimersByTime(1_000)
    expect(test.sightings).toEqual([])
  }
  vi.advanceTimersByTime(1_000)
  expect(test.sightings).toHaveLength(100)
  vi.advanceTimersByTime(50 * 20)
  expect(test.sightings.toSorted()).toEqual(
    Array.from({ length: next }, (_, n) => `d${n}: announced`).toSorted(),
  )
  expect(vi.getTimerCount()).toBe(0)
  announce(1)
  vi.advanceTimersByTime(2_000)
  expect(test.sightings).toHaveLength(next)
})

test('of a device that has gone by then, or came back, only that is noted', () => {
  const test = makeCluster()
  const [one, two] = [joinSlave(test, 's1').record, joinSlave(test, 's2').record]
  for (const device of ['gone', 'moved', 'stays']) test.cluster.live.up(one, tunnel(device, 1), announced)
  test.cluster.live.down(one, { project: 'default', device: 'gone' }, 1, 'it left')
  test.cluster.live.up(two, tunnel('moved', 2), { announced: false })
  vi.advanceTimersByTime(2_000)
  expect(test.sightings).toEqual(['gone: it left', 'moved: connected', 'stays: announced'])
})

test('of those that connect faster than it can be written it is noted later as well, once for each', () => {
  const test = makeCluster()
  const { record } = joinSlave(test, 's1')
  const connect = (first: number, count: number): void => {
    for (let n = first; n < first + count; n++)
      test.cluster.live.up(record, tunnel(`d${n}`, 1), { announced: false })
  }
  connect(0, 10)
  expect(test.sightings).toHaveLength(10)
  connect(10, 1_990)
  expect(test.sightings).toHaveLength(500)
  vi.advanceTimersByTime(10_000)
  expect(test.sightings.toSorted()).toEqual(
    Array.from({ length: 2_000 }, (_, n) => `d${n}: connected`).toSorted(),
  )
  expect(vi.getTimerCount()).toBe(0)
})

test('devices that come and go without a pause do not gather', () => {
  const test = makeCluster()
  const { record } = joinSlave(test, 's1')
  for (let epoch = 1; epoch <= 5_000; epoch++)
    test.cluster.live.up(record, tunnel('d', epoch), { announced: false })
  expect(test.sightings.length).toBeGreaterThan(4_900)
})

test('a master that stops notes what it has not yet noted', () => {
  const test = makeCluster()
  const { record } = joinSlave(test, 's1')
  for (let n = 0; n < 2_000; n++) test.cluster.live.up(record, tunnel(`d${n}`, 1), announced)
  test.cluster.close()
  expect(test.sightings).toHaveLength(2_000)
  vi.advanceTimersByTime(5_000)
  expect(test.sightings).toHaveLength(2_000)
})
