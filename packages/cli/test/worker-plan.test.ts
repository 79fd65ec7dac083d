import { assert, integer, property } from 'fast-check'
import { describe, expect, test } from 'vitest'

import { workerEnvironment } from '../src/worker-environment.ts'
import { divideRange, planWorkers, relayAdvice } from '../src/worker-plan.ts'
import { fakeOptions } from './command.ts'

const settings = {
  id: undefined,
  sshListen: [{ host: '::', port: 2222 }],
  publicPort: undefined,
  forwardPorts: { first: 20_000, last: 20_009 },
  relayListen: undefined,
  statusListen: undefined,
}

describe('dividing the forward ports', () => {
  test('gives every port to exactly one worker, and to each about as many', () => {
    assert(
      property(
        integer({ min: 1, max: 60_000 }),
        integer({ min: 0, max: 5_000 }),
        integer({ min: 1, max: 64 }),
        (first, more, parts) => {
          const last = Math.min(65_535, first + more)
          if (last - first + 1 < parts) {
            expect(() => divideRange({ first, last }, parts)).toThrow('fewer ports')
            return
          }
          const ranges = divideRange({ first, last }, parts)
          expect(ranges[0]?.first).toBe(first)
          expect(ranges.at(-1)?.last).toBe(last)
          for (const [index, range] of ranges.entries()) {
            if (index > 0) expect(range.first).toBe((ranges[index - 1]?.last ?? 0) + 1)
            expect(range.last - range.first + 1).toBeGreaterThanOrEqual(
              Math.floor((last - first + 1) / parts),
            )
          }
        },
      ),
    )
  })
})

describe('the plan of the workers', () => {
  test('counts ids and ports up', () => {
    const status = { host: '127.0.0.1', port: 9100 }
    expect(planWorkers(2, { ...settings, publicPort: 22, statusListen: status }, 'box')).toEqual([
      {
        id: 'box-2222-1',
        sshListen: '[::]:2222',
        forwardPorts: '20000-20004',
        publicPort: '22',
        relayListen: '127.0.0.1:0',
        statusListen: '127.0.0.1:9100',
      },
      {
        id: 'box-2222-2',
        sshListen: '[::]:2223',
        forwardPorts: '20005-20009',
        publicPort: '23',
        relayListen: '127.0.0.1:0',
        statusListen: '127.0.0.1:9101',
      },
    ])
  })

  test('workers of a master elsewhere are told what lets slaves of other machines reach them', () => {
    const [away, here] = [['https://sshoal.example.com'], ['http://127.0.0.1:8080', 'http://[::1]:8080']]
    const told = { relayListen: { host: '10.0.0.5', port: 2_300 } }
    expect(relayAdvice(2, settings, away)).toContain('--relay-listen HOST:PORT')
    expect(relayAdvice(2, settings, [...here, ...away])).toContain('--relay-listen')
    expect(relayAdvice(1, settings, away)).toBeUndefined()
    expect(relayAdvice(2, settings, here)).toBeUndefined()
    expect(relayAdvice(2, told, away)).toBeUndefined()
  })

  test('workers relay to each other on ports of their own, or where they are told to', () => {
    const relays = (count: number, relayListen?: { host: string; port: number }) =>
      planWorkers(count, { ...settings, relayListen }, 'box').map((flags) => flags.relayListen)
    expect(relays(1)).toEqual([undefined])
    expect(relays(2)).toEqual(['127.0.0.1:0', '127.0.0.1:0'])
    expect(relays(2, { host: '10.0.0.5', port: 2300 })).toEqual(['10.0.0.5:2300', '10.0.0.5:2301'])
    expect(() => relays(2, { host: '::', port: 2222 })).toThrow('would be needed twice')
  })

  test('keeps a given id, and leaves port 0 to the system', () => {
    const [, second] = planWorkers(2, { ...settings, id: 'eu', sshListen: [{ host: '::', port: 0 }] }, 'box')
    expect(second).toMatchObject({ id: 'eu-2', sshListen: '[::]:0' })
  })

  test('is refused where ports run out or meet', () => {
    expect(() => planWorkers(2, { ...settings, sshListen: [{ host: '::', port: 65_535 }] }, 'box')).toThrow(
      '--ssh-listen: worker 2 would need port 65536',
    )
    const both = [
      { host: '::', port: 2222 },
      { host: '::', port: 2223 },
    ]
    expect(() => planWorkers(2, { ...settings, sshListen: both }, 'box')).toThrow(
      '[::]:2223 would be needed twice',
    )
  })
})

describe('the environment of a worker', () => {
  test('carries flags, outdone by what is its own, and no second source for a secret', () => {
    const flags = { sshListen: [':1', ':2'], tokenFile: ['/run/token'], id: ['a', 'b'] }
    const env = { SSHOAL_TOKEN: "the operator's", SSHOAL_MASTER: 'http://old', PATH: '/bin' }
    const own = { master: 'http://new', sshListen: '[::]:7' }
    expect(workerEnvironment(fakeOptions.slaveOptions, { flags, env }, own)).toEqual({
      PATH: '/bin',
      SSHOAL_ID: 'b',
      SSHOAL_MASTER: 'http://new',
      SSHOAL_SSH_LISTEN: '[::]:7',
      SSHOAL_TOKEN_FILE: '/run/token',
    })
  })

  test('prefers its own secret file to a flag of this process', () => {
    const made = workerEnvironment(
      fakeOptions.slaveOptions,
      { flags: { token: ['secret'] }, env: {} },
      { tokenFile: '/data/slave-token' },
    )
    expect(made).toEqual({ SSHOAL_TOKEN_FILE: '/data/slave-token' })
  })
})
