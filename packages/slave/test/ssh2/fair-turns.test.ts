import type { Socket } from 'node:net'

import { describe, expect, test } from 'vitest'

import { FairTurns } from '../../src/ssh2/index.ts'
import { until } from './fixture.ts'

function busy(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

/** A client of that address. */
const from = (remoteAddress: string) => ({ remoteAddress }) as Socket

describe('turns', () => {
  test('go round the sources: who comes later than a crowd of one source waits for one piece of work of it', async () => {
    const turns = new FairTurns()
    const done: string[] = []
    for (let n = 0; n < 100; n++) turns.add(from('crowd'), 1, () => void done.push(`crowd ${n}`))
    turns.add(from('elsewhere'), 1, () => void done.push('elsewhere 0'))
    turns.add(from('elsewhere'), 1, () => void done.push('elsewhere 1'))
    await until(() => done.length === 102)
    expect(done.slice(0, 5)).toEqual(['crowd 0', 'elsewhere 0', 'crowd 1', 'elsewhere 1', 'crowd 2'])
    expect(done.filter((name) => name.startsWith('crowd'))).toEqual(
      Array.from({ length: 100 }, (_, n) => `crowd ${n}`),
    )
  })

  test('count a client for the source that it was said to have, not for its proxy', async () => {
    const turns = new FairTurns()
    const done: string[] = []
    const clients = ['crowd', 'crowd', 'elsewhere'].map((source) => {
      const client = from('proxy')
      turns.belongs(client, source)
      return { client, source }
    })
    for (const { client, source } of clients) turns.add(client, 1, () => void done.push(source))
    await until(() => done.length === 3)
    expect(done).toEqual(['crowd', 'elsewhere', 'crowd'])
  })

  test('leave the event loop free between dear pieces', async () => {
    const turns = new FairTurns()
    let [left, loops] = [20, 0]
    for (let n = 20; n > 0; n--)
      turns.add(from('a'), 1, () => {
        busy(6)
        left--
      })
    const count = (): void => {
      loops++
      if (left > 0) setImmediate(count)
    }
    count()
    await until(() => left === 0)
    expect(loops).toBeGreaterThanOrEqual(20)
  })

  test('rest while connections arrive, but not for ever', async () => {
    const turns = new FairTurns()
    let [left, arrivals] = [20, 0]
    for (let n = 20; n > 0; n--)
      turns.add(from('a'), 1, () => {
        busy(6)
        left--
      })
    const arrive = (): void => {
      turns.arrived()
      arrivals++
      if (left > 0) setImmediate(arrive)
    }
    arrive()
    await until(() => left === 0)
    // Many could come in for each piece of work that was done.
    expect(arrivals).toBeGreaterThan(200)
  })

  test('take only so much from one source', async () => {
    const turns = new FairTurns()
    let ran = 0
    const add = (source: string) => turns.add(from(source), 1024 * 1024, () => void ran++)
    expect([add('a'), add('a'), add('a'), add('b')]).toEqual([true, true, false, true])
    await until(() => ran === 3)
    expect(add('a')).toBe(true)
    await until(() => ran === 4)
  })
})
