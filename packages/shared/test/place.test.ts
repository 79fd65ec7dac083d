import { describe, expect, test } from 'vitest'

import { addressesAmong, onePort } from '../src/place.ts'

const names: Record<string, string[]> = { 'slave.example': ['198.51.100.7', '2001:db8::7'] }
const resolve = (host: string): Promise<string[]> => {
  const found = names[host]
  return found ? Promise.resolve(found) : Promise.reject(new Error('ENOTFOUND'))
}

describe('an address and a port', () => {
  const places = [
    { hosts: ['slave.example', 'nowhere.example', 'fe80::1%eth0'], ports: [{ first: 20_000, last: 25_000 }] },
    { hosts: ['2001:DB8:0:0::8'], ports: [onePort(2_222), onePort(22)] },
  ]
  const among = (addresses: string[], port: number) => addressesAmong(places, addresses, port, resolve)

  test('are a place by its address, in any notation, or by its name', async () => {
    expect(await among(['198.51.100.7', '198.51.100.8', '2001:db8:0::7'], 20_000)).toEqual([
      '198.51.100.7',
      '2001:db8:0::7',
    ])
    expect(await among(['2001:db8::8'], 22)).toEqual(['2001:db8::8'])
    expect(await among(['fe80::1'], 25_000)).toEqual(['fe80::1'])
  })

  test('are none with another port, and no name is looked up for it', async () => {
    expect(await among(['198.51.100.7'], 19_999)).toEqual([])
    expect(
      await addressesAmong(places, ['198.51.100.7'], 80, () => Promise.reject(new Error('asked'))),
    ).toEqual([])
  })
})
