import { expect, test } from 'vitest'

import { SlotDesk } from '../../src/cluster/feed/slot-desk.ts'

interface Call {
  words: (string | number)[]
  answer: (ids: string[]) => void
  fail: () => void
}

/** A desk whose Redis answers when the test says so. */
function makeDesk() {
  const calls: Call[] = []
  const desk = new SlotDesk(
    (words) =>
      new Promise((resolve, reject) =>
        calls.push({ words, answer: resolve, fail: () => reject(new Error('away')) }),
      ),
    () => 0,
  )
  return { desk, calls }
}
const turn = () => new Promise((resolve) => setImmediate(resolve))
const some = (count: number, all = 100) =>
  Array.from({ length: Math.min(count, all) }, (_, n) => ({ id: `s${n}`, tunnels: 0, capacity: 9 }))

test('what is asked for while Redis chooses goes together next', async () => {
  const { desk, calls } = makeDesk()
  const first = desk.ask('', some)
  await turn()
  const others = [desk.ask('', some), desk.ask('eu', some), desk.ask('', some)]
  await turn()
  expect(calls).toHaveLength(1)
  // As many slaves as slots, and some for what other masters did meanwhile.
  expect(calls[0]?.words.slice(3, 5)).toEqual([1, 33])
  calls[0]?.answer(['a'])
  expect(await first).toBe('a')
  await turn()
  expect(calls).toHaveLength(2)
  calls[1]?.answer(['b', 'c', 'd'])
  expect(await Promise.all(others)).toEqual(['b', 'd', 'c'])
})

test('nobody waits for a Redis that does not answer, and the next one asks again', async () => {
  const { desk, calls } = makeDesk()
  const first = desk.ask('', some)
  await turn()
  const second = desk.ask('', some)
  calls[0]?.fail()
  expect(await Promise.all([first, second])).toEqual([undefined, undefined])
  await turn()
  const third = desk.ask('', some)
  await turn()
  calls[1]?.answer(['a'])
  expect(await third).toBe('a')
})

test('a wish that no slave fits any more takes nothing from the others', async () => {
  const { desk, calls } = makeDesk()
  const asked = [desk.ask('gone', () => []), desk.ask('', some)]
  await turn()
  calls[0]?.answer(['a'])
  expect(await Promise.all(asked)).toEqual([undefined, 'a'])
})

test('one call never wants more than 500 slots', async () => {
  const { desk, calls } = makeDesk()
  const asked = Array.from({ length: 700 }, () => desk.ask('', some))
  await turn()
  expect(calls[0]?.words[3]).toBe(500)
  calls[0]?.answer(Array.from({ length: 500 }, () => 'a'))
  await Promise.all(asked.slice(0, 500))
  await turn()
  expect(calls[1]?.words[3]).toBe(200)
  calls[1]?.answer(Array.from({ length: 200 }, () => 'b'))
  expect(await asked.at(-1)).toBe('b')
})
