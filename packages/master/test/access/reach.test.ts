import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { Reach } from '../../src/access/reach.ts'
import { startParts } from '../master-parts.ts'
import { gateSlave, online, person, type Parts } from './fixture.ts'

let parts: Parts
let ann: { id: string }
beforeEach(async () => {
  parts = await startParts()
  parts.gateSlaves.set('eu-1', gateSlave('eu-1', { region: 'eu' }))
  const ids = Array.from({ length: 1_100 }, (_, n) => `pump-${n}`)
  await Promise.all(ids.map((id) => parts.registry.create('default', { id, region: 'eu' })))
  // The last in the order of names.
  await online(parts, 'pump-999')
  ann = await person(parts, 'ann', 1)
  await parts.call('POST', '/pools', { name: 'eu', selector: { region: 'eu' } })
  await parts.call('POST', '/grants', { user: 'ann', pool: 'eu' })
})
afterEach(() => parts.close())

const reach = (limit = 100) => parts.access.desk.reach({ project: 'default', user: ann.id, limit }, 'eu-1')

describe('what a user may reach by a selector of many', () => {
  test('is counted whole and shown from those that are online, as many as are asked for', async () => {
    const { targets, total, incomplete } = await reach()
    expect({ total, incomplete, shown: targets.length }).toEqual({
      total: 1_100,
      incomplete: undefined,
      shown: 100,
    })
    expect(targets.slice(0, 2)).toMatchObject([
      { name: 'pump-999', online: true },
      { name: 'pump-0', online: false },
    ])
  })

  test('is read once for all who ask at the same time', async () => {
    const { scan } = parts.store
    let targets = 0
    parts.store.scan = (wanted) => {
      if (wanted.kind === 'target') targets++
      return scan.call(parts.store, wanted) as never
    }
    const answers = await Promise.all(Array.from({ length: 20 }, () => reach()))
    expect(new Set(answers.map(({ total }) => total))).toEqual(new Set([1_100]))
    // Three pages each: one reading goes on, and all others share the next.
    expect(targets).toBeLessThanOrEqual(6)
  })

  test('where the time is over before all were looked at, those that are online are there, and it is said', async () => {
    const { directory, projects, traits } = parts.access
    const hurried = new Reach({ directory, projects, traits, now: () => parts.clock.now })
    const { all, complete } = await hurried.all('default', ann.id, 0)
    expect(complete).toBe(false)
    expect(all.length).toBeLessThan(1_100)
    expect(all.map(({ target }) => target.name)).toContain('pump-999')
  })
})
