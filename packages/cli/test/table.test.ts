import { expect, test } from 'vitest'

import { formatFields, formatTable, type Column } from '../src/table.ts'
import { relativeTime } from '../src/time-text.ts'

interface Row {
  id: string
  count: number | null
}

const columns: Column<Row>[] = [
  { header: 'device', value: (row) => row.id },
  { header: 'n', value: (row) => row.count, right: true },
]

test('columns are as wide as their widest cell, numbers stand right, nothing is a dash', () => {
  expect(
    formatTable(columns, [
      { id: 'a-long-name', count: 7 },
      { id: 'b', count: 1234 },
      { id: 'c', count: null },
    ]),
  ).toBe('DEVICE          N\na-long-name     7\nb            1234\nc               -\n')
})

test('without rows there is the header', () => {
  expect(formatTable(columns, [])).toBe('DEVICE  N\n')
})

test('lines are cut to the width of a terminal, and to nothing else', () => {
  const rows = [{ id: 'x'.repeat(30), count: 1 }]
  expect(formatTable(columns, rows, 20).split('\n')[1]).toBe(`${'x'.repeat(19)}…`)
  expect(formatTable(columns, rows).split('\n')[1]).toBe(`${'x'.repeat(30)}  1`)
})

test('what a device says cannot steer the terminal', () => {
  expect(formatTable(columns, [{ id: '\u001b[2Jx\r\n', count: 1 }])).toBe('DEVICE   N\n?[2Jx??  1\n')
})

test('fields are a name and a value per line', () => {
  expect(
    formatFields([
      ['id', 'a'],
      ['region', undefined],
    ]),
  ).toBe('id      a\nregion  -\n')
})

test('times are told from now', () => {
  const now = Date.parse('2030-01-01T00:00:00Z')
  expect(relativeTime('2029-12-31T23:57:00Z', now)).toBe('3m ago')
  expect(relativeTime(now + 7_200_000, now)).toBe('in 2h')
  expect(relativeTime(now, now)).toBe('now')
  expect(relativeTime(null, now)).toBeUndefined()
})
