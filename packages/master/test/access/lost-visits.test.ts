import { silentLog, type VisitReport } from '@sshoal/shared'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { LostVisits } from '../../src/access/lost-visits.ts'
import { startParts } from '../master-parts.ts'
import { gateSlave, visitReport, type Parts } from './fixture.ts'

let parts: Parts
beforeEach(async () => {
  parts = await startParts()
  for (const id of ['eu-1', 'us-1']) parts.gateSlaves.set(id, gateSlave(id))
})
afterEach(() => parts.close())

async function tell(visit: string, slave: string, more: Partial<VisitReport> = {}): Promise<void> {
  const told = parts.access.desk.visited(visitReport(parts, visit, more), slave)
  await parts.access.flush()
  await told
}
const ended = { at: Date.now(), bytesToTarget: 10, bytesFromTarget: 20, reason: 'finished' }
const visits = async (): Promise<Record<string, object>> => {
  const { body } = await parts.call('GET', '/audit?type=visit')
  return Object.fromEntries(body.entries.map((entry: { visit: string }) => [entry.visit, entry]))
}
const events = (): string[] => parts.events.after(0, 100).events.map(({ type }) => type)

describe('a visit that stands', () => {
  test('ends with its slave, without bytes, and so does no other', async () => {
    await tell('over', 'eu-1')
    await tell('over', 'eu-1', { ended })
    await tell('open', 'eu-1', { forward: 'web', account: 'root', via: 'us-1' })
    await tell('elsewhere', 'us-1')
    parts.gateSlaves.delete('eu-1')
    parts.clock.now += 5_000
    await parts.access.slaveChanged('eu-1')
    const { over, open, elsewhere } = await visits()
    expect(open).toMatchObject({
      reason: 'its slave was lost',
      endedAt: new Date(parts.clock.now).toISOString(),
    })
    expect(open).not.toHaveProperty('bytesToTarget')
    expect(over).toMatchObject({ reason: 'finished', bytesToTarget: 10 })
    expect(elsewhere).not.toHaveProperty('endedAt')
    expect(parts.events.after(0, 100).events.at(-1)).toMatchObject({
      type: 'visit.closed',
      project: 'default',
      data: {
        visit: 'open',
        user: 'ann',
        target: 'pump-1',
        forward: 'web',
        account: 'root',
        grant: 'g-1',
        slave: 'eu-1',
        via: 'us-1',
        reason: 'its slave was lost',
      },
    })
    expect(events().filter((type) => type === 'visit.closed')).toHaveLength(2)
  })

  test('ends when its slave is there again as another process', async () => {
    await tell('old', 'eu-1')
    const { hello } = gateSlave('eu-1')
    parts.gateSlaves.set('eu-1', gateSlave('eu-1', { hello: { ...hello, instance: 'begun again' } }))
    await tell('new', 'eu-1')
    await parts.access.slaveChanged('eu-1')
    expect(await visits()).toMatchObject({ old: { reason: 'its slave was lost' } })
    expect((await visits())['new']).not.toHaveProperty('endedAt')
  })

  test('ends only at the second look where nobody saw its slave go, because slaves take their time to come', async () => {
    await tell('open', 'eu-1')
    parts.gateSlaves.delete('eu-1')
    await parts.access.sweepLostVisits()
    await parts.access.slaveChanged('us-1')
    expect((await visits())['open']).not.toHaveProperty('endedAt')
    await parts.access.sweepLostVisits()
    expect(await visits()).toMatchObject({ open: { reason: 'its slave was lost' } })
  })

  test('ends once, whichever of the masters sees it first', async () => {
    await tell('open', 'eu-1')
    parts.gateSlaves.delete('eu-1')
    const announced: unknown[] = []
    const other = new LostVisits({
      store: parts.store,
      slaves: { all: () => parts.gateSlaves.values() },
      log: silentLog(),
      now: () => parts.clock.now,
      announce: (record) => announced.push(record),
    })
    await Promise.all([other.slaveChanged('eu-1'), parts.access.slaveChanged('eu-1')])
    await other.close()
    expect(announced.length + events().filter((type) => type === 'visit.closed').length).toBe(1)
    expect(await visits()).toMatchObject({ open: { reason: 'its slave was lost' } })
  })
})

describe('a slave that was only cut off', () => {
  beforeEach(async () => {
    await tell('open', 'eu-1')
    parts.gateSlaves.delete('eu-1')
    await parts.access.slaveChanged('eu-1')
    parts.gateSlaves.set('eu-1', gateSlave('eu-1'))
  })

  test('says how a visit ended in truth, and that stays', async () => {
    await tell('open', 'eu-1', { ended })
    await tell('open', 'eu-1', { standing: true })
    expect(await visits()).toMatchObject({ open: { reason: 'finished', bytesToTarget: 10 } })
  })

  test('says that a visit stands; that is no second begin, and its end is still told or found', async () => {
    await tell('open', 'eu-1', { standing: true })
    expect((await visits())['open']).not.toHaveProperty('endedAt')
    expect(events().filter((type) => type === 'visit.opened')).toHaveLength(1)
    parts.gateSlaves.delete('eu-1')
    await parts.access.slaveChanged('eu-1')
    expect(await visits()).toMatchObject({ open: { reason: 'its slave was lost' } })
  })

  test('alone is believed, no other slave', async () => {
    await tell('open', 'us-1', { ended })
    expect(await visits()).toMatchObject({ open: { slave: 'eu-1', reason: 'its slave was lost' } })
  })
})

test('slaves that give odd names and numbers to everything keep nobody else’s visits out of the audit', async () => {
  const odd = '\u0000.é'.repeat(80)
  const { hello } = gateSlave('x')
  parts.gateSlaves.set(odd, gateSlave(odd, { hello: { ...hello, instance: odd } }))
  await tell('v'.repeat(255), odd)
  await tell('v'.repeat(255), odd, { startedAt: parts.clock.now - 5 })
  await tell('right', 'eu-1')
  expect(Object.keys(await visits())).toContain('right')
  parts.gateSlaves.delete(odd)
  await parts.access.slaveChanged(odd)
  const { body } = await parts.call('GET', '/audit?type=visit')
  expect(body.entries).toHaveLength(3)
  const reasons = body.entries.map(({ reason }: { reason?: string }) => reason ?? '')
  expect(reasons.sort()).toEqual(['', 'its slave was lost', 'its slave was lost'])
})
