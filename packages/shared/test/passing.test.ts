import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { expect, test } from 'vitest'

import { Passing } from '../src/passing.ts'

interface Table {
  set(key: number, value: unknown): unknown
  delete(key: number): boolean
}

test('it holds what was set and not deleted, however much came and went', () => {
  const passing = new Passing<number, number>()
  for (let i = 0; i < 2_000; i++) {
    passing.set(i, i)
    if (i >= 100) expect(passing.delete(i - 100)).toBe(true)
  }
  expect(passing.size).toBe(100)
  expect(passing.values()).toEqual(Array.from({ length: 100 }, (_, i) => 1_900 + i))
  expect(passing.get(1_900)).toBe(1_900)
  expect(passing.get(1_899)).toBeUndefined()
  passing.clear()
  expect(passing.size).toBe(0)
})

test('what came and went leaves nothing in the old space, where a Map leaves most of it', () => {
  // A Map may be lucky in one try: a collection of the whole heap falls into it.
  const worst = Math.max(...[1, 2].map(() => leftBy(new Map())))
  expect(worst).toBeGreaterThan(2e6)
  expect(leftBy(new Passing())).toBeLessThan(worst / 4)
})

/** Bytes by which the old space grew at most while 60,000 entries came and went, ten at a time. */
function leftBy(table: Table): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let i = 0; i < 10; i++) table.set(i, i)
  // All that stands is in the old space after it.
  collect()
  const before = oldSpace()
  let most = 0
  for (let i = 10; i < 60_000; i++) {
    table.set(i, Array.from({ length: 20 }))
    table.delete(i - 10)
    if (i % 1_000 === 0) most = Math.max(most, oldSpace() - before)
  }
  return most
}

function oldSpace(): number {
  return getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')?.space_used_size ?? 0
}
