import { describe, expect, test } from 'vitest'

import { carrierFor, carrierOf, type GateSlave } from '../../src/access/carriers.ts'
import { makeHost, type HostTarget } from '../../src/access/target.ts'
import { gateSlave } from './fixture.ts'

function slaves(...all: GateSlave[]) {
  const byId = new Map(all.map((slave) => [slave.id, slave]))
  return { get: (id: string) => byId.get(id), all: () => byId.values() }
}

function dialler(id: string, region: string, more: Partial<GateSlave> = {}): GateSlave {
  const slave = gateSlave(id, { region, ...more })
  return { ...slave, hello: { ...slave.hello, dials: true } }
}

const host = (region?: string): HostTarget =>
  makeHost('default', { name: 'db', address: '10.0.0.5', ...(region === undefined ? {} : { region }) }, 0)

describe('the slave that carries a visit', () => {
  test('of a device is the one that holds its tunnel: itself, or by its relay', () => {
    expect(carrierOf(gateSlave('a'), slaves(), 'a')).toEqual({ slave: 'a' })
    expect(carrierOf(gateSlave('a'), slaves(), 'b')?.relay).toMatchObject({ host: '192.0.2.7', port: 7_000 })
    const slave = gateSlave('a')
    const named = { ...slave, hello: { ...slave.hello, relay: { host: 'relay.a', port: 1 } } }
    expect(carrierOf(named, slaves(), 'b')?.relay).toMatchObject({ host: 'relay.a', port: 1 })
    const { relay: _, ...without } = slave.hello
    expect(carrierOf({ ...slave, hello: without }, slaves(), 'b')).toBeUndefined()
  })

  test('of a host is who asks where it dials in that region, else one that does', () => {
    const all = slaves(dialler('a', 'eu'), dialler('b', 'us'), gateSlave('c', { region: 'eu' }))
    expect(carrierFor(host('eu'), all, 'a')).toEqual({ slave: 'a' })
    expect(carrierFor(host('eu'), all, 'b')).toMatchObject({ slave: 'a', relay: {} })
    expect(carrierFor(host('eu'), all, 'c')).toMatchObject({ slave: 'a', relay: {} })
    expect(carrierFor(host('ap'), all, 'a')).toBeUndefined()
    expect(carrierFor(host(), all, 'b')).toEqual({ slave: 'b' })
  })

  test('is ready; asked again by the carrier itself, it is the carrier', () => {
    const all = slaves(dialler('a', 'eu', { state: 'draining' }), dialler('b', 'eu'), dialler('d', 'eu'))
    const chosen = carrierFor(host('eu'), all, 'elsewhere')
    expect(['b', 'd']).toContain(chosen?.slave)
    expect(carrierFor(host('eu'), all, chosen?.slave ?? '')).toEqual({ slave: chosen?.slave })
    expect(carrierFor(host('eu'), slaves(dialler('a', 'eu', { state: 'stale' })), 'x')).toBeUndefined()
  })

  test('by a relay on loopback is for slaves of the same machine alone', () => {
    const on = (id: string, seenAddress: string, addresses: string[], relayHost?: string) => {
      const slave = gateSlave(id, { seenAddress, region: 'eu' })
      const relay = { port: 1, ...(relayHost === undefined ? {} : { host: relayHost }) }
      return { ...slave, hello: { ...slave.hello, dials: id === 'a', addresses, relay } }
    }
    const bridge = '172.17.0.1'
    const holder = on('a', '10.0.0.5', ['10.0.0.5', bridge], '127.0.0.1')
    const neighbour = on('b', '10.0.0.5', ['10.0.0.5', bridge])
    const local = on('c', '127.0.0.1', ['10.0.0.5', bridge])
    const elsewhere = on('d', '10.0.0.6', ['10.0.0.6', bridge])
    const behindNat = on('e', '10.0.0.5', ['192.168.1.9'])
    const all = slaves(holder, neighbour, local, elsewhere, behindNat)
    for (const [id, reached] of Object.entries({ b: true, c: true, d: false, e: false })) {
      expect(carrierOf(holder, all, id) !== undefined, id).toBe(reached)
      expect(carrierFor(host('eu'), all, id) !== undefined, id).toBe(reached)
    }
    // A machine without a network, as in a first run.
    const [one, two] = [on('1', '127.0.0.1', [], '127.0.0.1'), on('2', '127.0.0.1', [])]
    expect(carrierOf(one, slaves(one, two), '2')).toMatchObject({ slave: '1', relay: { host: '127.0.0.1' } })
    const open = on('f', '10.0.0.7', [], '10.0.0.7')
    expect(carrierOf(open, all, 'd')).toMatchObject({ relay: { host: '10.0.0.7' } })
  })
})
