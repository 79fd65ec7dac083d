import { expect, test, vi } from 'vitest'

import { Invalidations } from '../../src/cluster/invalidations.ts'

function start(last = 0) {
  const sent: [number, string[] | null][] = []
  const turns = new Invalidations(last, (number, fingerprints) => {
    sent.push([number, fingerprints])
    return Promise.resolve(number)
  })
  return { turns, sent }
}

test('those of other masters that come later go out first, in the order of their numbers', async () => {
  const { turns, sent } = start()
  const second = turns.take(2, ['b'])
  const third = turns.take(3, ['c'])
  expect(sent).toEqual([])
  expect(await turns.take(1, ['a'])).toBe(1)
  expect(await Promise.all([second, third])).toEqual([2, 3])
  expect(sent).toEqual([
    [1, ['a']],
    [2, ['b']],
    [3, ['c']],
  ])
  expect(turns.last).toBe(3)
  expect(await turns.take(2, ['late'])).toBe(0)
  expect(sent).toHaveLength(3)
})

test('a number that does not come is made up for by asking about everybody', async () => {
  vi.useFakeTimers()
  try {
    const { turns, sent } = start(10)
    const waiting = [turns.take(12, ['b']), turns.take(14, ['d'])]
    await vi.advanceTimersByTimeAsync(500)
    expect(await Promise.all(waiting)).toEqual([14, 14])
    expect(sent).toEqual([[14, null]])
    expect(await turns.take(15, ['e'])).toBe(15)
    expect(sent).toHaveLength(2)
  } finally {
    vi.useRealTimers()
  }
})

test('one about all keys waits for nobody, and includes those before it', async () => {
  const { turns, sent } = start()
  const waiting = turns.take(3, ['c'])
  expect(await turns.take(5, null)).toBe(5)
  expect(await waiting).toBe(5)
  expect(sent).toEqual([[5, null]])
})

test('one that is heard of twice while it waits answers both who ask, and goes out once', async () => {
  const { turns, sent } = start()
  const own = turns.take(3, ['c'])
  const found = turns.take(3, null)
  expect(await Promise.all([own, found])).toEqual([3, 3])
  expect(sent).toEqual([[3, null]])
})

test('one that is heard of twice is about the keys of both', async () => {
  const { turns, sent } = start()
  const both = [turns.take(2, ['b']), turns.take(2, ['c'])]
  expect(await turns.take(1, ['a'])).toBe(1)
  expect(await Promise.all(both)).toEqual([2, 2])
  expect(sent).toEqual([
    [1, ['a']],
    [2, ['b', 'c']],
  ])
})
