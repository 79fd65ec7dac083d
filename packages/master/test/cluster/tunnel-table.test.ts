import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { LiveTunnel } from '../../src/cluster/live-tunnel.ts'
import { SlaveRecord } from '../../src/cluster/slave-record.ts'
import { TunnelTable } from '../../src/cluster/tunnel-table.ts'
import { fakeWire, hello, tunnel } from './fixture.ts'

const slave = new SlaveRecord(hello('s1'), 'link', fakeWire().wire, '127.0.0.1')
const made = (device: string, more: { lease?: string; project?: string } = {}): LiveTunnel =>
  new LiveTunnel(tunnel(device, 1, more), slave)
const all = (): boolean => true

function add(table: TunnelTable, ...tunnels: LiveTunnel[]): void {
  for (const each of tunnels) table.set(each.key, each)
}

describe('pages', () => {
  test('the last page says that it is the last, also when it is full', () => {
    const table = new TunnelTable(8)
    add(table, ...['a', 'b', 'c', 'd'].map((device) => made(device)))
    const first = table.page(undefined, 2, all)
    expect(first.tunnels).toHaveLength(2)
    const second = table.page(first.next ?? '', 2, all)
    expect(second.tunnels).toHaveLength(2)
    expect(second.next).toBeNull()
  })

  test('an empty table has one empty page', () => {
    expect(new TunnelTable(8).page(undefined, 10, all)).toEqual({ tunnels: [], next: null })
  })

  test.each(['', 'x', '!', 'YQ', 'YQ==', 'AA=', 'YQBi\n', '%00'])('%j is INVALID_CURSOR', (cursor) => {
    expect(() => new TunnelTable(8).page(cursor, 10, all)).toThrow(
      expect.objectContaining({ code: 'INVALID_CURSOR' }),
    )
  })

  test('any cursor gives a page or INVALID_CURSOR', () => {
    const table = new TunnelTable(8)
    add(table, ...['a', 'b', 'c'].map((device) => made(device)))
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.base64String()), (cursor) => {
        try {
          table.page(cursor, 2, all)
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_CURSOR' })
        }
      }),
    )
  })

  test('every tunnel that stands the whole time is listed exactly once, however others come and go', () => {
    const name = fc.oneof(
      fc.stringMatching(/^[a-f]{1,2}$/),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 3 }),
    )
    const holder = fc.tuple(name, fc.option(name, { nil: undefined }))
    const churn = fc.array(fc.record({ comes: fc.boolean(), holder }), { maxLength: 6 })
    fc.assert(
      fc.property(
        fc.array(holder, { maxLength: 25 }),
        fc.array(churn, { maxLength: 12 }),
        fc.integer({ min: 1, max: 7 }),
        fc.constantFrom(1, 2, 64),
        (standing, churns, limit, buckets) => {
          const table = new TunnelTable(buckets)
          const tunnels = new Map(
            standing
              .map(([device, lease]) => made(device, lease === undefined ? {} : { lease }))
              .map((t) => [t.key, t]),
          )
          add(table, ...tunnels.values())
          const listed = new Map<string, number>()
          let cursor: string | undefined
          for (let page = 0; ; page++) {
            const { tunnels: found, next } = table.page(cursor, limit, all)
            expect(found.length).toBeLessThanOrEqual(limit)
            for (const { key } of found) listed.set(key, (listed.get(key) ?? 0) + 1)
            if (next === null) break
            cursor = next
            for (const {
              comes,
              holder: [device, lease],
            } of churns[page] ?? []) {
              const other = made(device, lease === undefined ? {} : { lease })
              if (tunnels.has(other.key)) continue
              const current = table.get(other.key)
              if (comes) table.set(other.key, other)
              else if (current) table.delete(other.key, current)
            }
          }
          for (const key of tunnels.keys()) expect(listed.get(key)).toBe(1)
          for (const [, times] of listed) expect(times).toBe(1)
        },
      ),
    )
  })
})

describe('what stands', () => {
  test('only exactly the tunnel that stands can be taken away', () => {
    const table = new TunnelTable(8)
    const [older, newer] = [made('a'), made('a')]
    add(table, older, newer)
    expect(table.size).toBe(1)
    expect(table.delete(older.key, older)).toBe(false)
    expect(table.delete(newer.key, newer)).toBe(true)
    expect(table.delete(newer.key, newer)).toBe(false)
    expect(table.size).toBe(0)
  })

  test('a device is found with its leases, and without those of its namesakes', () => {
    const table = new TunnelTable(8)
    const mine = [made('a'), made('a', { lease: 'l1' }), made('a', { lease: 'l2' })]
    add(table, ...mine, made('ab'), made('a', { project: 'other' }), made('b', { lease: 'a' }))
    expect(new Set(table.ofDevice('default', 'a'))).toEqual(new Set(mine))
    expect(table.ofDevice('default', 'zz')).toEqual([])
  })

  test('the size is the number of tunnels, whatever happens', () => {
    const step = fc.record({
      comes: fc.boolean(),
      device: fc.stringMatching(/^[a-c]$/),
      lease: fc.option(fc.constant('l'), { nil: undefined }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const table = new TunnelTable(4)
        for (const { comes, device, lease } of steps) {
          const one = made(device, lease === undefined ? {} : { lease })
          const current = table.get(one.key)
          if (comes) table.set(one.key, one)
          else if (current) table.delete(one.key, current)
          expect(table.size).toBe([...table.values()].length)
        }
      }),
    )
  })
})
