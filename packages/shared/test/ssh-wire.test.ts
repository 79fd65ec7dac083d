import fc from 'fast-check'
import { expect, test } from 'vitest'

import { message, mpint, string, uint32, WireError, WireReader } from '../src/ssh-wire.ts'

const bytes = fc.uint8Array({ maxLength: 40 }).map((list) => Buffer.from(list))
const field = fc.oneof(
  fc.nat({ max: 0xffffffff }),
  fc.boolean(),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  bytes,
)

test('every message is read back field by field, and nothing is left', () => {
  fc.assert(
    fc.property(fc.nat(255), fc.array(field, { maxLength: 8 }), (type, fields) => {
      const reader = new WireReader(message(type, ...fields))
      expect(reader.byte()).toBe(type)
      for (const value of fields) {
        if (typeof value === 'number') expect(reader.uint32()).toBe(value)
        else if (typeof value === 'boolean') expect(reader.boolean()).toBe(value)
        else if (typeof value === 'string') expect(reader.text()).toBe(value)
        else expect(reader.string().equals(value)).toBe(true)
      }
      expect(reader.left).toBe(0)
    }),
  )
})

test('a message that is cut anywhere is a WireError, never a read past the end', () => {
  fc.assert(
    fc.property(fc.array(bytes, { minLength: 1, maxLength: 5 }), fc.nat(), (fields, cut) => {
      const whole = Buffer.concat(fields.map((value) => string(value)))
      const reader = new WireReader(whole.subarray(0, cut % whole.length))
      expect(() => fields.forEach(() => reader.string())).toThrow(WireError)
    }),
  )
})

test('whatever is read from any bytes is inside them, or a WireError', () => {
  const reads = fc.array(fc.constantFrom('byte', 'boolean', 'uint32', 'string', 'text', 'nameList'), {
    maxLength: 12,
  })
  fc.assert(
    fc.property(bytes, reads, (data, names) => {
      const reader = new WireReader(data)
      for (const name of names) {
        const before = reader.position
        try {
          reader[name as 'byte']()
        } catch (error) {
          expect(error).toBeInstanceOf(WireError)
          return
        }
        expect(reader.position).toBeGreaterThan(before)
        expect(reader.position + reader.left).toBe(data.length)
      }
    }),
  )
})

test('a length of 4 GiB does not wrap around', () => {
  expect(() => new WireReader(uint32(0xffffffff)).string()).toThrow(WireError)
})

test('an empty name list has no names', () => {
  expect(new WireReader(string('')).nameList()).toEqual([])
  expect(new WireReader(string('a,b')).nameList()).toEqual(['a', 'b'])
})

test('a number is written in its one spelling: no zeros in front but the one that keeps it positive', () => {
  expect(mpint(Buffer.of(0, 0, 5))).toEqual(string(Buffer.of(5)))
  expect(mpint(Buffer.of(0x80))).toEqual(string(Buffer.of(0, 0x80)))
  expect(mpint(Buffer.alloc(3))).toEqual(string(Buffer.alloc(0)))
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 1n << 256n }), (value) => {
      const hex = value.toString(16)
      const digits = new WireReader(mpint(Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex'))).string()
      expect(BigInt(`0x0${digits.toString('hex')}`)).toBe(value)
      expect((digits[0] ?? 0) & 0x80).toBe(0)
    }),
  )
})
