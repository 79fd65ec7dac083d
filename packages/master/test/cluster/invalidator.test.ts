import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { joinSlave, makeCluster } from './fixture.ts'

const LOOK_MS = 2_000

/** A store that other masters number in too, and may be replaced. */
function sharedStore() {
  const store = {
    id: 'store-1',
    state: 'ok' as const,
    number: 7,
    nextInvalidation: () => Promise.resolve(++store.number),
    lastInvalidation: () => Promise.resolve(store.number),
  }
  const test = makeCluster({ store })
  test.cluster.invalidator.watch()
  return { store, ...test, slave: joinSlave(test, 's1') }
}

describe('invalidations over several masters', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('one that was numbered by a master that died before it told is found, and everybody is asked about', async () => {
    const { store, slave, cluster } = sharedStore()
    store.number = 9
    await vi.advanceTimersByTimeAsync(LOOK_MS)
    expect(slave.asked).toEqual([])
    await vi.advanceTimersByTimeAsync(LOOK_MS)
    expect(slave.asked).toEqual([['invalidate', { number: 9, store: 'store-1', fingerprints: null }]])
    await vi.advanceTimersByTimeAsync(5 * LOOK_MS)
    expect(slave.asked).toHaveLength(1)
    cluster.close()
  })

  it('one that is told between two looks is told once', async () => {
    const { store, slave, cluster } = sharedStore()
    store.number = 8
    await vi.advanceTimersByTimeAsync(LOOK_MS)
    const told = { number: 8, store: 'store-1', fingerprints: ['SHA256:a'] }
    await cluster.invalidator.take(told)
    await vi.advanceTimersByTimeAsync(5 * LOOK_MS)
    expect(slave.asked).toEqual([['invalidate', told]])
    cluster.close()
  })

  it('another store that was accepted is no removal: nobody is asked about but whom it names', async () => {
    const { store, slave, cluster } = sharedStore()
    store.id = 'store-2'
    store.number = 3
    expect(cluster.invalidator.last).toBeUndefined()
    await vi.advanceTimersByTimeAsync(3 * LOOK_MS)
    expect(cluster.invalidator.last).toEqual({ store: 'store-2', number: 3 })
    expect(slave.asked).toEqual([])
    await cluster.invalidate(['SHA256:a'])
    expect(slave.asked).toEqual([['invalidate', { number: 4, store: 'store-2', fingerprints: ['SHA256:a'] }]])
    cluster.close()
  })

  it('another store that numbers at once is heard at once, however far the one before had counted', async () => {
    const { store, slave, cluster } = sharedStore()
    store.id = 'store-2'
    store.number = 0
    await cluster.invalidate(['SHA256:a'])
    const told = { number: 1, store: 'store-2', fingerprints: ['SHA256:a'] }
    expect(slave.asked).toEqual([['invalidate', told]])
    cluster.close()
  })

  it('a number that came with the change is the one that is told', async () => {
    const { store, slave, cluster } = sharedStore()
    await cluster.invalidate(['SHA256:a'], await store.nextInvalidation())
    expect(store.number).toBe(8)
    expect(slave.asked).toEqual([['invalidate', { number: 8, store: 'store-1', fingerprints: ['SHA256:a'] }]])
    cluster.close()
  })
})
