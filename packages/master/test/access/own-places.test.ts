import { networkInterfaces } from 'node:os'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { OwnPlaces } from '../../src/access/own-places.ts'
import { startParts } from '../master-parts.ts'
import { gateSlave, type Parts } from './fixture.ts'

let parts: Parts
let looked: string[]
let places: OwnPlaces

beforeEach(async () => {
  parts = await startParts()
  looked = []
  places = new OwnPlaces({
    slaves: { get: (id) => parts.gateSlaves.get(id), all: () => parts.gateSlaves.values() },
    store: {
      scan: (scan) => parts.store.scan(scan),
      places: [
        { host: '192.0.2.50', port: 6_379 },
        { host: 's1.example', port: 6_380 },
        { host: '127.0.0.1', port: 6_381 },
      ],
    },
    gateHost: { host: 'gate.example', port: 22 },
    masters: () => [{ hosts: ['192.0.2.1'], ports: [{ first: 8_080, last: 8_080 }] }],
    resolve: (host) => {
      looked.push(host)
      return Promise.resolve(host === 'gate.example' ? ['203.0.113.1'] : ['203.0.113.2'])
    },
  })
  const slave = gateSlave('eu-1', { seenAddress: '198.51.100.1' })
  const hello = {
    ...slave.hello,
    addresses: ['10.0.0.1', 'fd00::1'],
    publicHost: 's1.example',
    statusPort: 9_100,
  }
  parts.gateSlaves.set('eu-1', { ...slave, hello })
})
afterEach(() => parts.close())

const isOwn = async (address: string, port: number): Promise<boolean> =>
  (await places.among({ addresses: [address], port })).length > 0

describe('the cluster’s own ports', () => {
  test('are all on which a slave listens, at each of its addresses', async () => {
    for (const address of ['10.0.0.1', 'fd00::1', 'FD00:0::1', '198.51.100.1', '203.0.113.2']) {
      for (const port of [2_222, 20_000, 25_000, 7_000, 9_100])
        expect(await isOwn(address, port), `${address} ${port}`).toBe(true)
      for (const port of [22, 19_999, 8_080])
        expect(await isOwn(address, port), `${address} ${port}`).toBe(false)
    }
    expect(await isOwn('10.0.0.2', 2_222)).toBe(false)
  })

  test('are those of the masters, of --gate-host and of every gate of every project', async () => {
    expect(await isOwn('192.0.2.1', 8_080)).toBe(true)
    expect(await isOwn('203.0.113.1', 22)).toBe(true)
    await parts.call('POST', '/gates?project=acme', { name: 'eu', host: '203.0.113.9', port: 2_200 })
    expect(await isOwn('203.0.113.9', 2_200)).toBe(true)
    expect(await isOwn('203.0.113.9', 22)).toBe(false)
  })

  test('are those of the Redis behind the masters; what stands on a master’s loopback, at all addresses of its machine', async () => {
    expect(await isOwn('192.0.2.50', 6_379)).toBe(true)
    expect(await isOwn('192.0.2.50', 22)).toBe(false)
    expect(await isOwn('203.0.113.2', 6_380)).toBe(true)
    for (const list of Object.values(networkInterfaces()))
      for (const { address } of list ?? []) expect(await isOwn(address, 6_381), address).toBe(true)
    expect(await isOwn('203.0.113.2', 6_381)).toBe(false)
  })

  test('are not looked up again at every visit', async () => {
    for (let n = 0; n < 3; n++) await isOwn('10.9.9.9', 2_222)
    expect(looked).toEqual(['s1.example'])
  })

  test('are told to a slave that asks', async () => {
    const answer = parts.access.desk.own({ addresses: ['192.0.2.1', '192.0.2.2'], port: 8_080 })
    expect(await answer).toEqual(['192.0.2.1'])
  })
})
