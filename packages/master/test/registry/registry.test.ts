import { SshoalError } from '@sshoal/shared'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { importDevices, readJsonLines } from '../../src/registry/device-import.ts'
import { parseMac, readMac } from '../../src/registry/mac.ts'
import type { Registry } from '../../src/registry/registry.ts'
import { fingerprint, keyLine } from '../key-lines.ts'
import { startRooms } from '../master-parts.ts'

let parts: Awaited<ReturnType<typeof startRooms>>
let registry: Registry

beforeEach(async () => {
  parts = await startRooms()
  registry = parts.registry
})
afterEach(() => parts.close())

const refusal = (code: string) => expect.objectContaining({ code }) as SshoalError

describe('a MAC address', () => {
  it('K020 is the same device in every common spelling', () => {
    for (const text of ['00:13:48:02:6A:FE', '00-13-48-02-6a-fe', '0013.4802.6AFE', '001348026AFE'])
      expect(parseMac(text)).toBe('001348026afe')
  })

  it('K021 is refused where it is anything but twelve hex digits', () => {
    for (const text of [
      'a_b',
      '../x',
      '',
      '00:13:48:02:6A',
      '00:13-48:02:6a:fe',
      '001348026afg',
      '00 13 48 02 6a fe',
    ])
      expect(() => parseMac(text)).toThrow(refusal('INVALID_MAC'))
  })

  it('K021 is twelve hex digits or nothing, whatever the text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-fA-F:.-]{0,20}$/)), (text) => {
        const mac = readMac(text)
        expect(mac === undefined || /^[0-9a-f]{12}$/.test(mac)).toBe(true)
        if (mac !== undefined) expect(mac).toBe(text.replace(/[:.-]/g, '').toLowerCase())
      }),
    )
  })
})

describe('the registry', () => {
  it('finds a device by id, by fingerprint and by MAC in any spelling', async () => {
    await registry.create('default', { id: 'pump', keys: [keyLine(1)], mac: '00:13:48:02:6A:FE' })
    expect((await registry.get('default', 'pump'))?.id).toBe('pump')
    expect((await registry.get('default', '0013.4802.6afe'))?.id).toBe('pump')
    expect((await registry.byFingerprint(fingerprint(1))).map(({ id }) => id)).toEqual(['pump'])
    expect(await registry.get('other', 'pump')).toBeUndefined()
    expect(await registry.get('other', '001348026afe')).toBeUndefined()
  })

  it('refuses what is no device, key, port, region or keepalive, and keeps nothing of it', async () => {
    const wrong: [object, string][] = [
      [{ id: '' }, 'INVALID_ID'],
      [{ id: 'a b' }, 'INVALID_ID'],
      [{ id: '..' }, 'INVALID_ID'],
      [{ id: 'refused' }, 'INVALID_ID'],
      [{ id: 'x'.repeat(129) }, 'INVALID_ID'],
      [{ id: 'x', keys: ['ssh-ed25519 AAAA'] }, 'INVALID_KEY'],
      [{ id: 'x', keys: ['-----BEGIN OPENSSH PRIVATE KEY-----'] }, 'INVALID_KEY'],
      [{ id: 'x', mac: '12' }, 'INVALID_MAC'],
      [{ id: 'x', name: 'two\nlines' }, 'INVALID_NAME'],
      [{ id: 'x', region: 'e u' }, 'INVALID_REGION'],
      [{ id: 'x', ports: [0] }, 'INVALID_PORTS'],
      [{ id: 'x', ports: [80, 80] }, 'INVALID_PORTS'],
      [{ id: 'x', keepalive: '1 day' }, 'INVALID_DURATION'],
      [{ id: 'x', keepalive: 5 }, 'INVALID_KEEPALIVE'],
      [{ id: 'x', keys: Array.from({ length: 65 }, (_, n) => keyLine(n)) }, 'TOO_MANY_KEYS'],
    ]
    for (const [wanted, code] of wrong)
      await expect(registry.create('default', wanted as { id: string })).rejects.toThrow(refusal(code))
    expect((await registry.list({ limit: 10 })).devices).toEqual([])
  })

  it('gives a key, a MAC and a port to one device, and says whose it is', async () => {
    await registry.create('default', { id: 'a', keys: [keyLine(1)], mac: '001348026afe', ports: [20_001] })
    const taken = (wanted: object, code: string) =>
      expect(registry.create('default', { id: 'b', ...wanted })).rejects.toMatchObject({
        code,
        details: { device: 'a' },
      })
    await taken({ keys: [keyLine(1)] }, 'KEY_TAKEN')
    await taken({ mac: '00:13:48:02:6a:fe' }, 'MAC_TAKEN')
    await taken({ ports: [20_001] }, 'PORT_TAKEN')
    await expect(registry.create('default', { id: 'a' })).rejects.toThrow(refusal('DEVICE_EXISTS'))
    // An id that reads as another's MAC would make that MAC lead to the wrong device.
    await expect(registry.create('default', { id: '00:13:48:02:6A:FE' })).rejects.toThrow(
      refusal('MAC_TAKEN'),
    )
    expect(await registry.get('default', 'b')).toBeUndefined()
  })

  it('lets projects share keys and MACs but no port of a region, and names nobody of another project', async () => {
    await registry.create('acme', {
      id: 'a',
      keys: [keyLine(1)],
      mac: '001348026afe',
      region: 'eu',
      ports: [20_001],
    })
    await registry.create('other', {
      id: 'a',
      keys: [keyLine(1)],
      mac: '001348026afe',
      region: 'us',
      ports: [20_001],
    })
    const error = await registry
      .create('other', { id: 'b', region: 'eu', ports: [20_001] })
      .catch((e: unknown) => e)
    expect(error).toMatchObject({ code: 'PORT_TAKEN' })
    expect(JSON.stringify([(error as SshoalError).message, (error as SshoalError).details])).not.toContain(
      '"a"',
    )
    expect(await registry.fixedPorts()).toEqual([
      { project: 'acme', device: 'a', region: 'eu', port: 20_001 },
      { project: 'other', device: 'a', region: 'us', port: 20_001 },
    ])
  })

  it('holds a key for one device however many ask for it at once', async () => {
    const settled = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => registry.create('default', { id: `d${n}`, keys: [keyLine(1)] })),
    )
    expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(await registry.byFingerprint(fingerprint(1))).toHaveLength(1)
  })

  it('loses none of many changes of one device at once', async () => {
    await registry.create('default', { id: 'a' })
    await Promise.all(
      Array.from({ length: 10 }, (_, n) => registry.addKey('default', 'a', { key: keyLine(n) })),
    )
    expect((await registry.get('default', 'a'))?.keys).toHaveLength(10)
  })

  it('changes and takes away settings, and tells the cluster of keys and ports', async () => {
    const { cluster } = parts
    await registry.create('default', { id: 'a', keys: [keyLine(1)], ports: [20_001], keepalive: '15s' })
    expect(cluster.fixedPortsChanges).toBe(1)
    expect(cluster.invalidated).toEqual([])
    const changed = await registry.change('default', 'a', { ports: [20_002], keepalive: null, region: 'eu' })
    expect(changed).toMatchObject({ ports: [20_002], region: 'eu' })
    expect(changed.keepaliveMs).toBeUndefined()
    expect(cluster.fixedPortsChanges).toBe(2)
    expect(cluster.invalidated).toEqual([[fingerprint(1)]])
    await registry.change('default', 'a', { region: 'eu' })
    expect(cluster.invalidated).toHaveLength(1)
    await expect(registry.change('default', 'zzz', {})).rejects.toThrow(refusal('UNKNOWN_DEVICE'))
    // The port that was given up is free.
    await registry.create('default', { id: 'b', region: 'eu', ports: [20_001] })
  })

  it('tells the cluster of a removed key after the removal is durable', async () => {
    const { cluster } = parts
    await registry.create('default', { id: 'a', keys: [keyLine(1), keyLine(2)] })
    let known = -1
    cluster.invalidate = async (fingerprints) => {
      cluster.invalidated.push(fingerprints)
      known = (await registry.byFingerprint(fingerprint(1))).length
      return 1
    }
    expect(await registry.removeKey('default', 'a', fingerprint(1))).toBe(1)
    expect(known).toBe(0)
    expect(cluster.invalidated).toEqual([[fingerprint(1)]])
    await expect(registry.removeKey('default', 'a', fingerprint(1))).rejects.toThrow(refusal('UNKNOWN_KEY'))
    expect(await registry.remove('default', 'a')).toBe(1)
    expect(cluster.invalidated[1]).toEqual([fingerprint(2)])
    expect(await registry.get('default', 'a')).toBeUndefined()
  })

  it('keeps a removal that is durable even where no slave could be told', async () => {
    parts.cluster.invalidate = () => Promise.reject(new SshoalError('LINK_LOST', 'gone'))
    await registry.create('default', { id: 'a', keys: [keyLine(1)] })
    expect(await registry.remove('default', 'a')).toBe(0)
    expect(await registry.get('default', 'a')).toBeUndefined()
  })

  it('searches id, name, MAC, region and fingerprint, and pages without losing or repeating any', async () => {
    const count = 1_200 // more than the store is scanned for at once
    const lines = Array.from({ length: count }, (_, n) => ({
      line: n + 1,
      value: { id: `pump-${n}`, region: n % 2 ? 'eu' : 'us', ...(n < 3 ? { keys: [keyLine(n)] } : {}) },
    }))
    await importDevices(registry, 'default', lines)
    await registry.create('default', { id: 'door', name: 'Front Pump', mac: '00:13:48:02:6A:FE' })
    const seen: string[] = []
    let cursor: string | undefined
    do {
      const page = await registry.list({ q: 'PUMP', limit: 500, ...(cursor === undefined ? {} : { cursor }) })
      seen.push(...page.devices.map(({ id }) => id))
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
    expect(seen).toHaveLength(count + 1)
    expect(new Set(seen).size).toBe(count + 1)
    const ids = async (q: string) => (await registry.list({ q, limit: 5 })).devices.map(({ id }) => id)
    expect(await ids('13:48')).toEqual(['door'])
    expect(await ids(fingerprint(2))).toEqual(['pump-2'])
    expect(await ids('eu')).toHaveLength(5)
    expect(await ids('nothing')).toEqual([])
  })

  it('remembers where a device was last seen, before and after it is written', async () => {
    await registry.create('default', { id: 'a' })
    registry.seen('default', 'a', { where: '203.0.113.5', why: 'tunnel up on eu-1' })
    registry.seen('default', 'stranger', { where: '203.0.113.6', why: 'refused' })
    expect(await registry.lastSeen('default', 'a')).toMatchObject({ why: 'tunnel up on eu-1' })
    await registry.flush()
    expect(await registry.lastSeen('default', 'a')).toMatchObject({ where: '203.0.113.5' })
    expect(await registry.lastSeen('default', 'stranger')).toBeUndefined()
    await registry.remove('default', 'a')
    await registry.create('default', { id: 'a' })
    expect(await registry.lastSeen('default', 'a')).toBeUndefined()
  })
})

describe('a registry beside a hook', () => {
  it('lists a device that only the hook knows, and refuses to edit it', async () => {
    const beside = await startRooms({ authority: 'hook' })
    try {
      beside.registry.remember('default', 'cam')
      beside.registry.seen('default', 'cam', { where: '203.0.113.5', why: 'tunnel up' })
      await beside.registry.flush()
      expect((await beside.registry.list({ limit: 5 })).devices).toMatchObject([
        { id: 'cam', source: 'hook' },
      ])
      const edits = [
        beside.registry.change('default', 'cam', { name: 'x' }),
        beside.registry.addKey('default', 'cam', { key: keyLine(1) }),
        beside.registry.removeKey('default', 'cam', fingerprint(1)),
        beside.registry.remove('default', 'cam'),
        beside.registry.create('default', { id: 'cam' }),
      ]
      for (const edit of edits) await expect(edit).rejects.toThrow(refusal('HOOK_DEVICE'))
    } finally {
      await beside.close()
    }
  })

  it('leaves the devices of a former hook to a registry that now decides by itself', async () => {
    const ref = { kind: 'device', project: 'default', id: 'cam' }
    const value = { id: 'cam', project: 'default', source: 'hook', keys: [], createdAt: 1 }
    await parts.store.transact([{ type: 'put', ref, value }])
    registry.remember('default', 'other')
    await registry.flush()
    expect(await registry.get('default', 'other')).toBeUndefined()
    await registry.create('default', { id: 'cam', keys: [keyLine(1)] })
    expect((await registry.get('default', 'cam'))?.source).toBe('store')
  })
})

describe('an import', () => {
  const lines = [
    `{"id":"a","keys":["${keyLine(1)}"],"keepalive":"15s"}`,
    '',
    '{"id":"b","keys":["nonsense"]}',
    'not json',
    '{"id":"c","colour":"red"}',
    '{"id":"d","ports":["80"]}',
    `{"id":"e","keys":["${keyLine(1)}"]}`,
    '{"id":"f"}\r',
  ].join('\n')

  it('takes each line whole or not at all, and says by number what is wrong', async () => {
    const report = await importDevices(registry, 'default', readJsonLines(lines))
    expect(report).toMatchObject({ created: 2, unchanged: 0 })
    expect(report.problems.map(({ line, code }) => [line, code])).toEqual([
      [3, 'INVALID_KEY'],
      [4, 'INVALID_JSON'],
      [5, 'INVALID_BODY'],
      [6, 'INVALID_BODY'],
      [7, 'KEY_TAKEN'],
    ])
    expect((await registry.list({ limit: 10 })).devices.map(({ id }) => id)).toEqual(['a', 'f'])
  })

  it('may be repeated: what is there exactly so is unchanged, what differs is said', async () => {
    await importDevices(registry, 'default', readJsonLines(lines))
    const again = await importDevices(registry, 'default', readJsonLines(lines))
    expect(again).toMatchObject({ created: 0, unchanged: 2 })
    const other = await importDevices(registry, 'default', readJsonLines('{"id":"f","region":"eu"}'))
    expect(other.problems).toMatchObject([{ line: 1, code: 'DEVICE_EXISTS' }])
  })
})
