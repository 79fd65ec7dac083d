import { expect, test } from 'vitest'

import { Turns } from '../src/turns.ts'

function busy(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

test('however many have work, one turn of the event loop takes little more than a slice', async () => {
  const turns = new Turns(8)
  let done = 0
  for (let i = 0; i < 50; i++)
    turns.add(() => {
      busy(4)
      done++
      return false
    })
  await new Promise((resolve) => setImmediate(resolve))
  expect(done).toBeGreaterThan(0)
  expect(done).toBeLessThan(5)
  while (done < 50) await new Promise((resolve) => setImmediate(resolve))
})

test('each gets its step in turn, in the order in which they asked, until none has more', async () => {
  const turns = new Turns(1_000)
  const steps: string[] = []
  const worker = (name: string, count: number) => (): boolean => {
    steps.push(name)
    return --count > 0
  }
  turns.add(worker('a', 3))
  turns.add(worker('b', 1))
  turns.add(worker('c', 2))
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(steps).toEqual(['a', 'b', 'c', 'a', 'c', 'a'])
})
