import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { Ports } from '../src/ports.ts'

const range = { first: 20_000, last: 20_009 }

describe('whose port is whose', () => {
  test('a holder gets the same port again, also from another slave or after a restart', () => {
    const first = new Ports(range)
    const port = first.choose('a', 0)
    first.release(port ?? 0, 'a')
    expect(first.choose('a', 0)).toBe(port)
    expect(new Ports(range).choose('a', 0)).toBe(port)
  })

  test('each ordinal has its own place; a taken place gives the next free port', () => {
    const ports = new Ports({ first: 1_024, last: 65_535 })
    const [first, second] = [ports.choose('a', 0), ports.choose('a', 1)]
    expect(first).not.toBe(second)
    expect(ports.choose('a', 0)).toBe((first ?? 0) + 1)
  })

  test('T076: when no port is left there is none', () => {
    const ports = new Ports(range)
    const given = Array.from({ length: 10 }, (_, i) => ports.choose(`h${i}`, 0))
    expect(new Set(given).size).toBe(10)
    expect(ports.inUse).toBe(ports.size)
    expect(ports.choose('late', 0)).toBeUndefined()
    ports.release(given[3] ?? 0, 'h3')
    expect(ports.choose('late', 0)).toBe(given[3])
  })

  test('a fixed port is never given to anybody else', () => {
    const ports = new Ports(range)
    ports.setFixed(new Map([[20_004, 'owner']]))
    const given = Array.from({ length: 10 }, (_, i) => ports.choose(`h${i}`, 0))
    expect(given.filter((port) => port !== undefined)).toHaveLength(9)
    expect(given).not.toContain(20_004)
    expect(ports.refusal(20_004, 'h1')).toBe('PORT_RESERVED')
    expect(ports.take(20_004, 'h1')).toBe(false)
    expect(ports.take(20_004, 'owner')).toBe(true)
  })

  test('a port that becomes fixed stays with who has it, and then goes to its owner', () => {
    const ports = new Ports(range)
    expect(ports.take(20_004, 'before')).toBe(true)
    ports.setFixed(new Map([[20_004, 'owner']]))
    expect(ports.refusal(20_004, 'owner')).toBe('PORT_IN_USE')
    ports.release(20_004, 'before')
    expect(ports.refusal(20_004, 'before')).toBe('PORT_RESERVED')
    expect(ports.refusal(20_004, 'owner')).toBeUndefined()
  })

  test('why a port cannot be had', () => {
    const ports = new Ports(range)
    ports.take(20_001, 'a')
    expect(ports.refusal(19_999, 'b')).toBe('PORT_OUT_OF_RANGE')
    expect(ports.refusal(20_010, 'b')).toBe('PORT_OUT_OF_RANGE')
    expect(ports.refusal(20_001, 'b')).toBe('PORT_IN_USE')
    expect(ports.refusal(20_001, 'a')).toBeUndefined()
    expect(ports.take(0, 'b')).toBe(false)
  })

  test('ports that another program has are passed over', () => {
    const ports = new Ports(range)
    const lost = new Set<number>()
    for (let i = 0; i < 9; i++) {
      const port = ports.choose('a', 0, lost) ?? 0
      ports.release(port, 'a')
      lost.add(port)
    }
    expect(lost.size).toBe(9)
    lost.add(ports.choose('a', 0, lost) ?? 0)
    expect(ports.choose('b', 0, lost)).toBeUndefined()
  })
})

test('invariant 2: whatever comes, a port belongs to at most one holder and a fixed one to its owner', () => {
  const port = fc.integer({ min: 19_998, max: 20_011 })
  const holder = fc.constantFrom('a', 'b', 'c')
  const step = fc.oneof(
    fc.record({ do: fc.constant('choose' as const), holder, ordinal: fc.nat(3) }),
    fc.record({ do: fc.constantFrom('take' as const, 'release' as const), holder, port }),
    fc.record({
      do: fc.constant('fix' as const),
      owners: fc.uniqueArray(fc.tuple(port, holder), { selector: ([p]) => p, maxLength: 4 }),
    }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const ports = new Ports(range)
      const owned = new Map<number, string>()
      let fixed = new Map<number, string>()
      for (const one of steps) {
        if (one.do === 'fix') {
          fixed = new Map(one.owners)
          ports.setFixed(fixed)
        } else if (one.do === 'release') {
          ports.release(one.port, one.holder)
          if (owned.get(one.port) === one.holder) owned.delete(one.port)
        } else {
          const got =
            one.do === 'choose'
              ? ports.choose(one.holder, one.ordinal)
              : ports.take(one.port, one.holder)
                ? one.port
                : undefined
          if (got === undefined) continue
          expect(owned.has(got)).toBe(false)
          expect(ports.contains(got)).toBe(true)
          expect(fixed.get(got) ?? one.holder).toBe(one.holder)
          if (one.do === 'choose') expect(fixed.has(got)).toBe(false)
          owned.set(got, one.holder)
        }
        expect(ports.inUse).toBe(owned.size)
      }
      const free = Array.from({ length: ports.size }, (_, i) => range.first + i).filter(
        (p) => !owned.has(p) && !fixed.has(p),
      )
      expect(ports.choose('late', 0) !== undefined).toBe(free.length > 0)
    }),
  )
})
