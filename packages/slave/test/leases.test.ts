import { createServer } from 'node:net'

import type { LeaseGrant, LeaseQuestion } from '@sshoal/shared'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { canListen } from '../src/forward.ts'
import { Identities } from '../src/identities.ts'
import { leaseRefusal, Leases } from '../src/leases.ts'
import { Ports } from '../src/ports.ts'
import { log } from './fixture.ts'

const RANGE = { first: 20_000, last: 20_004 }

let ports: Ports
let busy: Set<number>
let cuts: string[]
let draining: boolean
let leases: Leases
let seen: string[]

function make(range = RANGE): void {
  ports = new Ports(range)
  leases = new Leases({
    ports,
    canListen: async (port) => !busy.has(port),
    cut: ({ lease, fingerprint, port }, { code }) => {
      // In this order: the key is refused already, the port is not free yet.
      seen.push(
        `${leases.identityOf(fingerprint) ? 'known' : 'refused'} ${ports.isFree(port) ? 'free' : 'kept'}`,
      )
      cuts.push(`${lease} ${code}`)
      return true
    },
    draining: () => draining,
    log,
  })
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] })
  busy = new Set()
  cuts = []
  seen = []
  draining = false
  make()
})
afterEach(() => {
  leases.close()
  vi.useRealTimers()
})

const question = (id: string, more: Partial<LeaseQuestion> = {}): LeaseQuestion => ({
  project: 'default',
  device: `device of ${id}`,
  lease: id,
  fingerprint: `SHA256:${id}`,
  remainingMs: 10_000,
  ...more,
})
const grant = (id: string, port: number, remainingMs = 10_000): LeaseGrant => ({
  ...question(id),
  port,
  remainingMs,
})
const portOf = async (id: string, more: Partial<LeaseQuestion> = {}): Promise<number | string> => {
  const answer = await leases.grant(question(id, more))
  return answer.outcome === 'granted' ? answer.port : answer.code
}

describe('a granted lease', () => {
  test('is known by its key, with one port and what is left of its time', async () => {
    const port = await portOf('a')
    vi.advanceTimersByTime(4_000)
    expect(leases.identityOf('SHA256:a')).toEqual({
      device: {
        project: 'default',
        device: 'device of a',
        lease: 'a',
        ports: [port],
        maxForwards: 1,
        remainingMs: 6_000,
      },
    })
    expect(ports.take(port as number, 'somebody')).toBe(false)
    expect(ports.refusal(port as number, 'somebody')).toBe('PORT_RESERVED')
    expect(ports.take(port as number, 'default\0device of a\0a')).toBe(true)
  })

  test('ends by itself: key refused, tunnel cut, port free, in that order', async () => {
    const port = await portOf('a')
    vi.advanceTimersByTime(9_999)
    expect(leases.stands('a')).toBe(true)
    vi.advanceTimersByTime(2)
    expect(cuts).toEqual(['a LEASE_EXPIRED'])
    expect(seen).toEqual(['refused kept'])
    expect(ports.isFree(port as number)).toBe(true)
    expect(leases.refusalOf('SHA256:a')).toMatchObject({ code: 'LEASE_EXPIRED' })
  })

  test('a wall clock that jumps changes nothing', async () => {
    await portOf('a')
    vi.setSystemTime(Date.now() + 86_400_000)
    expect(leases.stands('a')).toBe(true)
    vi.setSystemTime(Date.now() - 2 * 86_400_000)
    vi.advanceTimersByTime(10_001)
    expect(leases.stands('a')).toBe(false)
  })

  test('is given another time, also longer than a timer holds', async () => {
    const port = await portOf('a')
    expect(await portOf('a', { remainingMs: 100 * 86_400_000 })).toBe(port)
    vi.advanceTimersByTime(99 * 86_400_000)
    expect(leases.stands('a')).toBe(true)
    vi.advanceTimersByTime(86_400_001)
    expect(leases.stands('a')).toBe(false)
  })

  test('one that is made again after its end is as good as new', async () => {
    await portOf('a')
    leases.end('a', { code: 'LEASE_REVOKED', reason: '' })
    expect(await portOf('b', { fingerprint: 'SHA256:a' })).toBeTypeOf('number')
    expect(leases.refusalOf('SHA256:a')).toBeUndefined()
    // The end of the older one does not touch the newer with the same key.
    expect(leases.end('a', { code: 'LEASE_REVOKED', reason: '' })).toBe(false)
    expect(leases.identityOf('SHA256:a')?.device?.lease).toBe('b')
  })
})

describe('ports', () => {
  test('K040 K041 K046: both ends of the range and all between, each once; then NO_PORT, until one ends', async () => {
    const given = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((id) => portOf(id)))
    expect(given.map(Number).toSorted((a, b) => a - b)).toEqual([20_000, 20_001, 20_002, 20_003, 20_004])
    expect(await portOf('f')).toBe('NO_PORT')
    leases.end('c', { code: 'LEASE_REVOKED', reason: '' })
    expect(await portOf('f')).toBe(given[2])
  })

  test('K044 K047: one that a tunnel, a fixed port or another process has is passed over', async () => {
    ports.take(20_000, 'a device')
    ports.setFixed(new Map([[20_001, 'another']]))
    busy.add(20_002)
    expect(await portOf('a')).toBe(20_003)
    expect(await portOf('b')).toBe(20_004)
    expect(await portOf('c')).toBe('NO_PORT')
    expect(await portOf('c', { port: 20_002 })).toBe('PORT_TAKEN')
    expect(await portOf('c', { port: 30_000 })).toBe('PORT_OUT_OF_RANGE')
    busy.clear()
    expect(await portOf('c', { port: 20_002 })).toBe(20_002)
  })

  test('a port that just became free is the last to be given again', async () => {
    const first = await portOf('a')
    leases.end('a', { code: 'LEASE_EXPIRED', reason: '' })
    const next = [await portOf('b'), await portOf('c'), await portOf('d'), await portOf('e')]
    expect(next).not.toContain(first)
    expect(await portOf('f')).toBe(first)
  })

  test('K092: a re-issue has its own port where no other is left, or where it asks for it', async () => {
    make({ first: 20_000, last: 20_000 })
    expect(await portOf('a')).toBe(20_000)
    expect(await portOf('b', { replaces: 'a' })).toBe(20_000)
    expect(cuts).toEqual(['a LEASE_REPLACED'])
    expect(await portOf('c', { replaces: 'b', port: 20_000 })).toBe(20_000)
    expect([leases.size, leases.stands('c')]).toEqual([1, true])
  })

  test('a draining slave gives none, and lets those that stand live', async () => {
    const port = await portOf('a')
    draining = true
    expect(await portOf('b')).toBe('DRAINING')
    expect(await portOf('a', { remainingMs: 60_000 })).toBe(port)
  })

  test('K050: the 4,990th costs what the 10th does', async () => {
    vi.useRealTimers()
    make({ first: 20_000, last: 25_000 })
    const time = async (from: number, count: number): Promise<number> => {
      const begin = performance.now()
      for (let n = from; n < from + count; n++) await portOf(`l${n}`)
      return (performance.now() - begin) / count
    }
    await time(0, 10)
    const few = await time(10, 500)
    await time(510, 3_980)
    const many = await time(4_490, 500)
    expect(leases.size).toBe(4_990)
    // A scan of the range would be a hundredfold; the machine that runs this is busy with other things.
    expect(many).toBeLessThan(few * 10 + 0.2)
    expect(await Promise.all(Array.from({ length: 11 }, (_, n) => portOf(`m${n}`)))).not.toContain('NO_PORT')
    expect(await portOf('one too many')).toBe('NO_PORT')
  })

  test('canListen says what listen(2) would', async () => {
    vi.useRealTimers()
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    expect(await canListen('127.0.0.1', port)).toBe(false)
    await new Promise((resolve) => server.close(resolve))
    expect(await canListen('127.0.0.1', port)).toBe(true)
    expect(await canListen('192.0.2.1', port)).toBe(false)
  })
})

describe('a welcome', () => {
  test('brings all that stand and ends all others', async () => {
    await portOf('a', { port: 20_000 })
    await portOf('b', { port: 20_001 })
    leases.replaceAll([grant('b', 20_001, 50_000), grant('c', 20_002)])
    expect(cuts).toEqual(['a LEASE_REVOKED'])
    expect(['a', 'b', 'c'].map((id) => leases.stands(id))).toEqual([false, true, true])
    vi.advanceTimersByTime(20_000)
    expect([leases.stands('b'), leases.stands('c')]).toEqual([true, false])
  })

  test('is right about a port where the slave knew another lease', async () => {
    await portOf('a', { port: 20_000 })
    leases.learn(
      { project: 'default', device: 'x', lease: 'z', ports: [20_000], remainingMs: 5_000 },
      'SHA256:z',
    )
    expect([leases.stands('a'), leases.stands('z')]).toEqual([false, true])
    expect(ports.refusal(20_000, 'default\0x\0z')).toBeUndefined()
  })
})

describe('who is this key?', () => {
  const ask = (identities: Identities, id: string) =>
    identities.who({
      publicKey: Buffer.from(id).toString('base64'),
      username: 'x',
      remoteAddress: '192.0.2.1',
    })

  test('a lease is answered without a master; its end too, while nobody can be asked', async () => {
    const identities = new Identities({ ask: () => Promise.reject(new Error('no master')), leases, log })
    const { fingerprintOf } = await import('@sshoal/shared')
    const fingerprint = fingerprintOf(Buffer.from('key'))
    await portOf('a', { fingerprint })
    expect(await ask(identities, 'key')).toMatchObject({
      outcome: 'known',
      identity: { device: { lease: 'a' } },
    })
    vi.advanceTimersByTime(10_001)
    expect(await ask(identities, 'key')).toMatchObject({ outcome: 'refused', code: 'LEASE_EXPIRED' })
    expect(await ask(identities, 'other')).toMatchObject({ outcome: 'outage' })
  })

  test('a lease that the master knows and the slave missed is learned; one that ended meanwhile is not', async () => {
    const device = { project: 'default', device: 'x', lease: 'z', ports: [20_000], remainingMs: 5_000 }
    const identities = new Identities({
      ask: async () => ({
        outcome: 'known',
        identity: { device },
        cacheMs: 0,
        staleMs: 0,
        addressBound: false,
      }),
      leases,
      log,
    })
    expect(await ask(identities, 'key')).toMatchObject({ outcome: 'known' })
    expect(leases.stands('z')).toBe(true)
    leases.end('z', { code: 'LEASE_REVOKED', reason: 'this lease was revoked' })
    expect(await ask(identities, 'key')).toMatchObject({ outcome: 'refused' })
    expect(leases.stands('z')).toBe(false)
  })
})

test('what a lease may ask for: its port or 0, nothing else', () => {
  const role = { project: 'default', device: 'x', lease: 'z', ports: [20_000] }
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 65_535 }), fc.boolean(), (bindPort, bound) => {
      const refusal = leaseRefusal(role, { bindPort }, bound)
      expect(refusal === undefined).toBe(bound && (bindPort === 0 || bindPort === 20_000))
      expect(leaseRefusal({ project: 'default', device: 'x' }, { bindPort }, bound)).toBeUndefined()
    }),
  )
})
