// The header of the PROXY protocol as property tests: what proxies may send is read, in whatever pieces it comes, and
// nothing else is.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

import { AddressSet } from '@sshoal/shared'
import * as fc from 'fast-check'
import { pino } from 'pino'
import { afterEach, expect, test, vi } from 'vitest'

import { SlaveMetrics } from '../src/metrics.ts'
import { Penalties } from '../src/penalties.ts'
import { readProxyHeader } from '../src/proxy-header.ts'
import { Reception, type Caller } from '../src/reception.ts'
import { Waiting } from '../src/startups.ts'

const port = fc.nat({ max: 65_535 })
const rest = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes))
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

const v1 = fc.oneof(
  fc.record({
    family: fc.constant('TCP4'),
    source: fc.ipV4(),
    destination: fc.ipV4(),
    sourcePort: port,
    destinationPort: port,
  }),
  fc.record({
    family: fc.constant('TCP6'),
    source: fc.ipV6(),
    destination: fc.ipV6(),
    sourcePort: port,
    destinationPort: port,
  }),
)

function writeV2(facts: {
  command?: number
  family: number
  addresses: Buffer
  tlvs?: Buffer
  version?: number
}): Buffer {
  const { command = 1, family, addresses, tlvs = Buffer.alloc(0), version = 2 } = facts
  const head = Buffer.concat([SIGNATURE, Buffer.of((version << 4) | command, family, 0, 0)])
  head.writeUInt16BE(addresses.length + tlvs.length, 14)
  return Buffer.concat([head, addresses, tlvs])
}

function ports(source: number, destination: number): Buffer {
  const both = Buffer.alloc(4)
  both.writeUInt16BE(source)
  both.writeUInt16BE(destination, 2)
  return both
}

/** Type, length, value, one after the other, up to 2 KB in all. */
const tlvs = fc
  .array(fc.tuple(fc.nat({ max: 255 }), fc.uint8Array({ maxLength: 250 })), { maxLength: 8 })
  .map((list) =>
    Buffer.concat(
      list.map(([type, value]) => {
        const head = Buffer.of(type, 0, 0)
        head.writeUInt16BE(value.length, 1)
        return Buffer.concat([head, value])
      }),
    ),
  )

/** What comes byte by byte: "more" until the header is whole, then the same answer whatever follows. */
function expectPiecewise(header: Buffer, behind: Buffer, source: unknown): void {
  for (let end = 0; end < header.length; end++)
    expect(readProxyHeader(header.subarray(0, end))).toEqual({ outcome: 'more' })
  const answer = { outcome: 'header', length: header.length, source }
  expect(readProxyHeader(header)).toEqual(answer)
  expect(readProxyHeader(Buffer.concat([header, behind]))).toEqual(answer)
}

test('T135, T138: version 1, IPv4 and IPv6, in pieces of one byte, with SSH behind it', () => {
  fc.assert(
    fc.property(v1, rest, ({ family, source, destination, sourcePort, destinationPort }, behind) => {
      const words = ['PROXY', family, source, destination, sourcePort, destinationPort]
      const header = Buffer.from(`${words.join(' ')}\r\n`)
      fc.pre(header.length <= 107)
      expectPiecewise(header, behind, { address: source, port: sourcePort })
    }),
  )
})

test('T135, T138: version 2, IPv4 and IPv6, with TLVs up to 2 KB, in pieces of one byte', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
  fc.assert(
    fc.property(
      fc.boolean(),
      bytes(16),
      bytes(16),
      port,
      port,
      tlvs,
      rest,
      (six, source, destination, from, to, more, behind) => {
        const size = six ? 16 : 4
        const addresses = Buffer.concat([source.slice(0, size), destination.slice(0, size), ports(from, to)])
        const header = writeV2({ family: six ? 0x21 : 0x11, addresses, tlvs: more })
        for (let end = 0; end < header.length; end++)
          expect(readProxyHeader(header.subarray(0, end)).outcome).toBe('more')
        const read = readProxyHeader(Buffer.concat([header, behind]))
        expect(read).toMatchObject({ outcome: 'header', length: header.length, source: { port: from } })
        const { address } = (read as { source: { address: string } }).source
        const block = new AddressSet([
          six
            ? Buffer.from(source)
                .toString('hex')
                .replace(/(.{4})(?!$)/g, '$1:')
            : source.slice(0, 4).join('.'),
        ])
        expect(block.has(address)).toBe(true)
      },
    ),
    { numRuns: 50 },
  )
})

test('LOCAL, UNKNOWN, unspecified and unix name nobody: the address of the socket counts', () => {
  const inet = Buffer.concat([Buffer.alloc(8, 9), ports(1, 2)])
  for (const header of [
    Buffer.from('PROXY UNKNOWN\r\n'),
    Buffer.from('PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n'),
    writeV2({ command: 0, family: 0x11, addresses: inet }),
    writeV2({ command: 0, family: 0, addresses: Buffer.alloc(0) }),
    writeV2({ family: 0, addresses: Buffer.alloc(0) }),
    writeV2({ family: 0x31, addresses: Buffer.alloc(216), tlvs: Buffer.alloc(2_048) }),
  ])
    expectPiecewise(header, Buffer.from('SSH-2.0-x'), undefined)
})

test.each([
  ['plain SSH', Buffer.from('SSH-2.0-OpenSSH_9.2\r\n')],
  ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ['nothing but zeros', Buffer.alloc(20)],
  ['a line of more than 107 bytes', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(100)}\r\n`)],
  ['an unknown family', Buffer.from('PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n')],
  ['IPv6 in TCP4', Buffer.from('PROXY TCP4 ::1 ::1 1 2\r\n')],
  ['IPv4 in TCP6', Buffer.from('PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n')],
  ['a port that is none', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n')],
  ['a port with a leading zero', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n')],
  ['a missing field', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n')],
  ['another field', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n')],
  ['a name as address', Buffer.from('PROXY TCP4 localhost 1.2.3.4 1 2\r\n')],
  ['version 3', writeV2({ version: 3, family: 0x11, addresses: Buffer.alloc(12) })],
  ['an unknown command', writeV2({ command: 2, family: 0x11, addresses: Buffer.alloc(12) })],
  ['addresses that are cut short', writeV2({ family: 0x21, addresses: Buffer.alloc(12) })],
  ['more TLVs than anybody sends', writeV2({ family: 0x11, addresses: Buffer.alloc(4_000) })],
])('T137: %s is no header', (_what, data) => {
  expect(readProxyHeader(data).outcome).toBe('bad')
})

test('T137: whatever comes, it is read without an exception, and bounded', () => {
  const start = fc.constantFrom(Buffer.alloc(0), Buffer.from('PROXY '), Buffer.from('PROXY TCP4 '), SIGNATURE)
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 4_096 }), (head, tail) => {
      const data = Buffer.concat([head, tail])
      const read = readProxyHeader(data)
      if (read.outcome === 'header') expect(read.length).toBeLessThanOrEqual(data.length)
      if (read.outcome === 'more') expect(data.length).toBeLessThan(16 + 216 + 2_048)
    }),
    { numRuns: 1_000 },
  )
})

const cleanUp: (() => void)[] = []
afterEach(() => {
  vi.useRealTimers()
  for (const close of cleanUp.splice(0)) close()
})

async function receive(proxies: string[]) {
  const callers: { caller: Caller; head: string }[] = []
  const metrics = new SlaveMetrics()
  const limits = { start: 100, rate: 30, full: 100 }
  const reception = new Reception({
    proxies: new AddressSet(proxies),
    penalties: new Penalties({ eachMs: 0, thresholdMs: 0, mostMs: 0, exempt: new AddressSet([]) }),
    waiting: new Waiting(limits, limits),
    metrics,
    log: pino({ level: 'silent' }),
    onCaller: (socket, caller, head) => {
      callers.push({ caller, head: head?.toString() ?? '' })
      socket.destroy()
    },
  })
  const server = createServer({ allowHalfOpen: true }, (socket) => reception.receive(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanUp.push(() => server.close())
  const open = (): Promise<{ socket: Socket; closed: Promise<void> }> =>
    new Promise((resolve) => {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1', () => {
        resolve({ socket, closed })
      })
      const closed = new Promise<void>((done) => socket.on('close', () => done()))
      socket.on('error', () => {}).resume()
      cleanUp.push(() => socket.destroy())
    })
  const dropped = async () =>
    (await metrics.registry.getSingleMetric('sshoal_connections_dropped_total')?.get())?.values ?? []
  return { callers, open, dropped }
}

test('T138, T140: a trusted proxy names the device, and what follows the header goes on', async () => {
  const { callers, open } = await receive(['127.0.0.0/8'])
  const { socket, closed } = await open()
  socket.write('PROXY TCP4 192.0.2.7 192.0.2.1 4711 22\r\nSSH-2.0-x\r\n')
  await closed
  expect(callers).toEqual([{ caller: { address: '192.0.2.7', source: '192.0.2.7' }, head: 'SSH-2.0-x\r\n' }])
})

test('T137, T140: from anybody else a PROXY line is no header but bad SSH', async () => {
  const { callers, open } = await receive(['192.0.2.0/24'])
  const { socket, closed } = await open()
  socket.write('PROXY TCP4 192.0.2.7 192.0.2.1 4711 22\r\n')
  await closed
  expect(callers).toMatchObject([{ caller: { address: '127.0.0.1' }, head: '' }])
})

test('T139: a trusted proxy that sends no header within 5 s is dropped and counted', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const { callers, open, dropped } = await receive(['127.0.0.1'])
  const { socket, closed } = await open()
  socket.write('PROXY TCP4 ')
  // The socket's own events are real; only our deadline waits for us.
  while (vi.getTimerCount() === 0) await new Promise((resolve) => setImmediate(resolve))
  vi.advanceTimersByTime(4_900)
  expect(await dropped()).toEqual([])
  vi.advanceTimersByTime(200)
  await closed
  expect(callers).toEqual([])
  expect(await dropped()).toMatchObject([{ labels: { reason: 'proxy-header' }, value: 1 }])
})
