import { expect, test } from 'vitest'

import { lasting } from '../../src/ssh2/lasting.ts'

test('what stays is a copy that lies with what else stays, and not in the memory that all small buffers share', () => {
  const short = Buffer.from('a key')
  const kept = [short, Buffer.alloc(51, 1), Buffer.alloc(0), Buffer.alloc(32, 2)].map(lasting)
  short.fill(0)
  expect(kept.map((buffer) => buffer.length)).toEqual([5, 51, 0, 32])
  expect(kept[0]?.toString()).toBe('a key')
  expect(kept[1]?.every((byte) => byte === 1)).toBe(true)
  expect(kept[3]?.every((byte) => byte === 2)).toBe(true)
  expect(kept[1]?.buffer).toBe(kept[3]?.buffer)
  expect(kept[1]?.buffer).not.toBe(Buffer.from('pool').buffer)
})

test('pieces that are full are left alone, and what is large gets a piece of its own', () => {
  const many = Array.from({ length: 1_000 }, (_, i) => lasting(Buffer.alloc(100, i)))
  expect(many.every((buffer, i) => buffer.length === 100 && buffer.every((byte) => byte === i % 256))).toBe(
    true,
  )
  expect(lasting(Buffer.alloc(5_000)).buffer.byteLength).toBe(5_000)
})
