import { once } from 'node:events'
import { createServer } from 'node:net'

import type { AdmitAnswer, DeviceRole } from '@sshoal/shared'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import type { ClientConnection } from '../src/client-connection.ts'
import { canListen } from '../src/forward.ts'
import { openForward } from '../src/forwarding.ts'
import { Ports } from '../src/ports.ts'
import type { Refusal } from '../src/refusal.ts'
import type { SlaveParts } from '../src/slave-parts.ts'
import { fakeSsh, log, makeTunnels, until, type FakeSsh, type TestTunnels } from './fixture.ts'

interface Slave extends TestTunnels {
  parts: SlaveParts
  ports: Ports
  contests: unknown[]
}

type Mutable = { -readonly [K in keyof SlaveParts]: SlaveParts[K] }

/** The first of ten ports in a row that are free, below those that the kernel gives to outgoing connections. */
async function tenFree(): Promise<number> {
  for (;;) {
    const first = 10_000 + 10 * Math.floor(Math.random() * 1_000)
    const free = await Promise.all(Array.from({ length: 10 }, (_, n) => canListen('127.0.0.1', first + n)))
    if (free.every(Boolean)) return first
  }
}

let slave: Slave
let epoch: number
let settings: { maxForwards: number }
let parts: Mutable
beforeEach(async () => {
  const test = makeTunnels()
  const first = await tenFree()
  const ports = new Ports({ first, last: first + 9 })
  const contests: unknown[] = []
  epoch = 0
  settings = { maxForwards: 64 }
  parts = {
    settings: { forwardAddress: '127.0.0.1', maxVisits: 10, ...settings },
    capacity: 10,
    sockets: 20,
    tunnels: test.tunnels,
    leases: { stands: () => true },
    ports,
    metrics: test.metrics,
    log,
    link: { send: (_type: string, body: unknown) => void contests.push(body) },
    draining: false,
    welcomed: () => Promise.resolve(true),
    admit: (): Promise<AdmitAnswer> => Promise.resolve({ outcome: 'admitted', epoch: ++epoch }),
  } as unknown as Mutable
  slave = { ...test, parts, ports, contests }
})
afterEach(() => {
  for (const tunnel of slave.tunnels.values()) slave.tunnels.down(tunnel, 'test over', 'test')
})

interface Device extends FakeSsh {
  connection: ClientConnection
  forward(bindAddress: string, bindPort: number): Promise<number | string>
}

function device(name: string, role: Partial<DeviceRole> = {}): Device {
  const fake = fakeSsh()
  const connection = {
    parts,
    device: { project: 'default', device: name, ...role },
    remoteAddress: '192.0.2.1',
    fingerprint: `SHA256:${name}`,
    ssh: fake.ssh,
    tunnel: undefined,
    end: (refusal: Refusal) => fake.ssh.disconnect(refusal.reason),
  } as unknown as ClientConnection
  return {
    ...fake,
    connection,
    forward: async (bindAddress, bindPort) => {
      const opened = await openForward(connection, { bindAddress, bindPort })
      return opened.outcome === 'opened' ? opened.port : opened.refusal.code
    },
  }
}

const standing = (): string[] =>
  [...slave.tunnels.values()].map(({ facts, epoch }) => `${facts.holder.device}:${epoch}`).sort()

describe('one forward', () => {
  test('T077: -R 0 is told its port; the tunnel begins with it', async () => {
    const a = device('a')
    expect(slave.tunnels.size).toBe(0)
    const port = await a.forward('', 0)
    expect(slave.ports.contains(Number(port))).toBe(true)
    expect(slave.sent).toMatchObject([
      ['tunnel.up', { device: 'a', epoch: 1, forwards: [{ kind: 'bound', port }] }],
    ])
  })

  test('a second forward changes the tunnel and needs no second admission', async () => {
    const a = device('a')
    await a.forward('', 0)
    await a.forward('web', 0)
    expect(epoch).toBe(1)
    expect(slave.sent.map(([type]) => type)).toEqual(['tunnel.up', 'tunnel.changed'])
  })

  test('name:0 is told the smallest unused number from 1; the same name and port twice is refused', async () => {
    const a = device('a')
    expect(await a.forward('web', 0)).toBe(1)
    expect(await a.forward('WEB', 0)).toBe(2)
    expect(await a.forward('web', 4)).toBe(4)
    expect(await a.forward('web', 0)).toBe(3)
    expect(await a.forward('web', 0)).toBe(5)
    expect(await a.forward('other', 0)).toBe(1)
    expect(await a.forward('Web', 4)).toBe('FORWARD_TAKEN')
    expect(await a.forward('', 80)).toBe(80)
    expect(await a.forward('localhost', 80)).toBe('FORWARD_TAKEN')
    expect(await a.forward('no_name', 0)).toBe('NAME_INVALID')
  })

  test('a named forward takes no port and no socket', async () => {
    await device('a').forward('web', 8_080)
    expect(slave.ports.inUse).toBe(0)
  })

  test('the fixed ports of the hook are given in their order', async () => {
    const { first } = slave.ports.range
    const a = device('a', { ports: [first + 7, first + 3] })
    slave.ports.setFixed(
      new Map([
        [first + 7, 'default\0a'],
        [first + 3, 'default\0a'],
      ]),
    )
    expect(await a.forward('', 0)).toBe(first + 7)
    expect(await a.forward('', 0)).toBe(first + 3)
    expect(await device('b').forward('', first + 7)).toBe('PORT_RESERVED')
  })

  test('what must fail leaves nothing behind', async () => {
    const { first } = slave.ports.range
    await device('a').forward('', first)
    expect(await device('b').forward('', first)).toBe('PORT_IN_USE')
    parts.draining = true
    expect(await device('c').forward('', 0)).toBe('DRAINING')
    parts.draining = false
    parts.welcomed = () => Promise.resolve(false)
    expect(await device('c').forward('', 0)).toBe('NOT_READY')
    parts.welcomed = () => Promise.resolve(true)
    parts.admit = () => Promise.resolve({ outcome: 'refused', code: 'DEVICE_CLONED', reason: 'r' })
    expect(await device('c').forward('', 0)).toBe('DEVICE_CLONED')
    expect(await device('d', { maxForwards: 0 }).forward('', 0)).toBe('TOO_MANY_FORWARDS')
    expect(standing()).toEqual(['a:1'])
    expect(slave.ports.inUse).toBe(1)
  })

  test('T098: a device that drops while its forward is being opened leaves nothing behind', async () => {
    const a = device('a')
    const opening = a.forward('', 0)
    a.ssh.destroy()
    expect(await opening).toBe('DISCONNECTED')
    const b = device('b')
    parts.admit = () => {
      queueMicrotask(() => queueMicrotask(() => b.ssh.destroy()))
      return Promise.resolve({ outcome: 'admitted', epoch: 9 })
    }
    expect(await b.forward('', 0)).toBe('DISCONNECTED')
    expect(standing()).toEqual([])
    expect(slave.ports.inUse).toBe(0)
  })

  test('a port that another program has is passed over', async () => {
    const a = device('a')
    const usual = Number(await a.forward('', 0))
    const [tunnel] = slave.tunnels.values()
    slave.tunnels.down(tunnel!, 'over', 'test')
    const squatter = createServer().listen(usual, '127.0.0.1')
    await once(squatter, 'listening')
    const port = await device('a').forward('', 0)
    squatter.close()
    expect(port).not.toBe(usual)
    expect(slave.ports.contains(Number(port))).toBe(true)
    expect(slave.ports.inUse).toBe(1)
  })
})

describe('take-over on one slave', () => {
  test('T093: the newest connection wins, gets the same port, and the one that is cut reads why', async () => {
    const older = device('a')
    const port = await older.forward('', 0)
    const newer = device('a')
    expect(await newer.forward('', 0)).toBe(port)
    expect(standing()).toEqual(['a:2'])
    expect(slave.sent.map(([type]) => type)).toEqual(['tunnel.up', 'tunnel.down', 'tunnel.up'])
    await until(() => older.told.length > 0)
    expect(older.told[0]).toContain('took over')
    await until(() => slave.contests.length > 0)
    expect(slave.contests).toMatchObject([{ device: 'a', epoch: 2 }])
    expect(await older.forward('', 0)).toBe('TAKEN_OVER')
  })

  test('two that come at once are never both up: the greater epoch stands', async () => {
    const [first, second] = [device('a'), device('a')]
    const outcomes = await Promise.all([first.forward('', 0), second.forward('', 0)])
    expect(standing()).toEqual(['a:2'])
    expect(slave.ports.inUse).toBe(1)
    expect(typeof outcomes[1]).toBe('number')
    await until(() => first.told.length > 0 || outcomes[0] === 'TAKEN_OVER')
  })

  test('one that was admitted first but listens last is told that a newer one came', async () => {
    const [older, newer] = [device('a'), device('a')]
    let release = (): void => {}
    parts.admit = () => {
      const mine = ++epoch
      const answer: AdmitAnswer = { outcome: 'admitted', epoch: mine }
      return mine === 1
        ? new Promise((resolve) => (release = () => resolve(answer)))
        : Promise.resolve(answer)
    }
    const late = older.forward('', 0)
    await until(() => epoch === 1)
    // Admitted now, both listen at the same time; the one with the named forward is done first.
    const first = newer.forward('web', 0)
    release()
    expect(await late).toBe('TAKEN_OVER')
    expect(await first).toBe(1)
    expect(standing()).toEqual(['a:2'])
    expect(slave.ports.inUse).toBe(0)
  })

  test('eight that come at once leave one tunnel and one port', async () => {
    const all = Array.from({ length: 8 }, () => device('a'))
    await Promise.all(all.map((each) => each.forward('', 0)))
    expect(standing()).toHaveLength(1)
    expect(slave.ports.inUse).toBe(1)
    const [tunnel] = slave.tunnels.values()
    expect(tunnel?.epoch).toBe(8)
  })

  test('a newcomer whose request must fail leaves the incumbent alone', async () => {
    const { first } = slave.ports.range
    await device('a').forward('', 0)
    slave.ports.setFixed(new Map([[first + 9, 'other']]))
    expect(await device('a').forward('', first + 9)).toMatch(/PORT_(RESERVED|IN_USE)/)
    expect(await device('a').forward('bad_name', 0)).toBe('NAME_INVALID')
    expect(standing()).toEqual(['a:1'])
  })
})
