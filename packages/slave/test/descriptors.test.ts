import { expect, test } from 'vitest'

import { capacityOf, descriptorLimit, effectiveCapacity, gateSocketsFor } from '../src/descriptors.ts'

test('T147: two descriptors per tunnel, and some are kept for everything else', () => {
  expect(capacityOf(4_512)).toBe(2_000)
  expect(capacityOf(100)).toBe(1)
  expect(capacityOf(Infinity)).toBeGreaterThanOrEqual(10_000)
})

test('the gate takes what the tunnels leave, and never what they need', () => {
  expect(gateSocketsFor(1_024, 256)).toBe(256)
  expect(gateSocketsFor(65_536, 5_001)).toBe(65_536 - 256 - 10_002)
  expect(gateSocketsFor(100, 1)).toBe(1)
  for (const limit of [600, 1_024, 4_096, 20_000, 1_048_576])
    for (const wanted of [undefined, 10, 100_000]) {
      const { tunnels } = effectiveCapacity({ wanted, descriptors: limit, ports: 5_001 })
      expect(gateSocketsFor(limit, tunnels)).toBeGreaterThan(0)
      if (wanted === undefined) expect(gateSocketsFor(limit, tunnels) + 2 * tunnels).toBeLessThan(limit)
    }
})

test('T147: the limit of this very process is known', () => {
  expect(descriptorLimit()).toBeGreaterThan(0)
})

test.each([
  [
    { wanted: 100, descriptors: 20_000, ports: 5_001 },
    { tunnels: 100, limit: 'capacity' },
  ],
  [
    { wanted: 50_000, descriptors: 20_000, ports: 50_001 },
    { tunnels: 19_488, limit: 'descriptors' },
  ],
  [
    { wanted: 50_000, descriptors: 200_000, ports: 50 },
    { tunnels: 50, limit: 'forward-ports' },
  ],
  [
    { wanted: undefined, descriptors: 1_024, ports: 5_001 },
    { tunnels: 256, limit: 'descriptors' },
  ],
  [
    { wanted: 50, descriptors: Infinity, ports: 50 },
    { tunnels: 50, limit: 'capacity' },
  ],
])('the capacity is the least of what is wanted and what there is: %j', (facts, capacity) => {
  expect(effectiveCapacity(facts)).toEqual(capacity)
})
