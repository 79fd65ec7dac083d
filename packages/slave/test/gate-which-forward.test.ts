import { array, assert, constantFrom, integer, property, record } from 'fast-check'
import { describe, expect, test } from 'vitest'

import { NamedForward, type LiveForward } from '../src/forward.ts'
import { whichForward } from '../src/gate/which-forward.ts'

type Standing = Pick<LiveForward, 'request' | 'shown'>

const named = (bindAddress: string, bindPort: number, number = bindPort): Standing =>
  new NamedForward({ bindAddress, bindPort }, number)
const bound = (bindPort: number, port = bindPort): Standing => ({
  request: { bindAddress: '', bindPort },
  shown: { kind: 'bound', bindAddress: '', bindPort, port },
})

const of = (forwards: Standing[], port: number, name?: string): number =>
  forwards.indexOf(whichForward(forwards, port, name)!)

describe('which forward a visit means', () => {
  test('one that was asked for as that port, named or bound', () => {
    expect(of([named('web', 80), bound(22), bound(20_017)], 22)).toBe(1)
    expect(of([bound(0, 20_500), bound(20_017)], 20_017)).toBe(1)
    expect(of([named('web', 80), named('', 80)], 80)).toBe(1)
  })

  test('the number that a named one was told; never the port that a bound one was told', () => {
    expect(of([named('web', 0, 1)], 1)).toBe(0)
    expect(of([bound(0, 20_500)], 20_500)).toBe(-1)
  })

  test('22 alone falls back to the first', () => {
    expect(of([bound(0, 20_500), named('web', 80)], 22)).toBe(0)
    expect(of([bound(0, 20_500), named('web', 80)], 443)).toBe(-1)
    expect(of([], 22)).toBe(-1)
  })

  test('of NAME.TARGET only those of that name, without case', () => {
    const forwards = [bound(0, 20_500), named('web', 80), named('web', 443), named('db', 5_432)]
    expect(of(forwards, 80, 'WEB')).toBe(1)
    expect(of(forwards, 443, 'web')).toBe(2)
    expect(of(forwards, 22, 'web')).toBe(1)
    expect(of(forwards, 22, 'db')).toBe(3)
    expect(of(forwards, 80, 'db')).toBe(-1)
    expect(of(forwards, 22, 'other')).toBe(-1)
  })

  test('a port never reaches what was asked for as another, except that 22 may', () => {
    const forward = record({
      name: constantFrom('', 'web', 'db'),
      port: integer({ min: 0, max: 5 }),
      number: integer({ min: 1, max: 5 }),
      isBound: constantFrom(true, false),
    }).map(({ name, port, number, isBound }) =>
      isBound ? bound(port, port || number) : named(name, port, port || number),
    )
    assert(
      property(
        array(forward, { maxLength: 6 }),
        integer({ min: 1, max: 6 }),
        constantFrom(undefined, 'web', 'db'),
        (forwards, port, name) => {
          const found = whichForward(forwards, port, name)
          const fits = ({ request, shown }: Standing): boolean =>
            (request.bindPort === port ||
              (shown.kind === 'named' && request.bindPort === 0 && shown.port === port)) &&
            (name === undefined || (shown.kind === 'named' && request.bindAddress === name))
          if (found) expect(fits(found)).toBe(true)
          else expect(forwards.some(fits)).toBe(false)
        },
      ),
    )
  })
})
