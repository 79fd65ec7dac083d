import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { RelayConnection } from '../src/gate/relay-connection.ts'
import type { RelayParts } from '../src/gate/relay-listener.ts'
import { SlaveMetrics } from '../src/metrics.ts'
import type { KeyOffer } from '../src/ssh2/index.ts'
import { fakeSsh, log, type FakeSsh } from './fixture.ts'

const offer: KeyOffer = {
  username: 's2',
  algorithm: 'ssh-ed25519',
  publicKey: Buffer.from('key'),
  fingerprint: 'SHA256:key',
  verified: true,
}

let known: boolean | 'outage'
let hasRoom: boolean
let fake: FakeSsh
let connection: RelayConnection
beforeEach(() => {
  vi.useFakeTimers()
  known = true
  hasRoom = true
  fake = fakeSsh()
  const parts = {
    settings: { loginGraceTime: 30_000 },
    metrics: new SlaveMetrics(),
    waiting: { leave: () => {} },
    penalties: { loggedIn: () => {}, offend: () => {} },
    sockets: { take: () => hasRoom, give: () => {} },
    keepalive: { watch: () => () => {} },
    link: {
      send: () => {},
      request: () => (known === 'outage' ? Promise.reject(new Error('no link')) : Promise.resolve({ known })),
    },
    log,
    carry: () => Promise.resolve({ outcome: 'refuse', text: 'carried' }),
  }
  connection = new RelayConnection(
    parts as unknown as RelayParts,
    { address: '192.0.2.1', source: '192.0.2.1' },
    () => {},
  )
  connection.ssh = fake.ssh
  connection.onReady(offer)
})
afterEach(() => vi.useRealTimers())

const visit = Buffer.from(
  JSON.stringify({
    id: 'v1',
    login: 'ada',
    grant: 'g1',
    question: {
      project: 'default',
      user: 'u1',
      fingerprint: 'f',
      target: 'pi',
      port: 22,
      remoteAddress: '192.0.2.2',
      via: 's2',
    },
  }),
)

test('a relay for which this slave has no socket left is told so, and ended', () => {
  hasRoom = false
  connection.onReady(offer)
  expect(fake.told).toEqual([expect.stringContaining('no socket left for relays')])
})

describe('a relay connection whose key the master does not know any more', () => {
  test('opens nothing new at once, and is cut when that lasts', async () => {
    expect(await connection.onVisit(visit)).toMatchObject({ text: 'carried' })
    known = false
    await connection.recheck()
    expect(await connection.onVisit(visit)).toMatchObject({ text: expect.stringContaining('no host key') })
    await vi.advanceTimersByTimeAsync(9_000)
    expect(fake.told).toEqual([])
    await vi.advanceTimersByTimeAsync(2_000)
    expect(fake.told).toEqual([expect.stringContaining('no host key of a slave')])
  })

  test('goes on when the peer was only away from its master for a moment', async () => {
    known = false
    await connection.recheck()
    await vi.advanceTimersByTimeAsync(5_000)
    known = true
    await vi.advanceTimersByTimeAsync(60_000)
    expect(fake.told).toEqual([])
    expect(await connection.onVisit(visit)).toMatchObject({ text: 'carried' })
  })

  test('goes on while nobody can say', async () => {
    known = 'outage'
    await connection.recheck()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(fake.told).toEqual([])
  })

  test('what is no visit is refused before anybody is asked', async () => {
    const without = (field: string): string => visit.toString().replace(`"${field}"`, '"other"')
    const lacking = ['via', 'grant', 'user', 'fingerprint', 'target'].map(without)
    for (const payload of ['', '{', '{}', ...lacking])
      expect(await connection.onVisit(Buffer.from(payload))).toMatchObject({
        text: 'sshoal: this is no visit',
      })
  })
})
