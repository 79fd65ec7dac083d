import { EventEmitter } from 'node:events'

import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'

import { CLOSE } from '../src/close-codes.ts'
import { MAX_FRAME_BYTES, SILENT_AFTER_MS } from '../src/protocol.ts'
import { SshoalError } from '../src/sshoal-error.ts'
import { openSockets, until, wireOver, type LinkEnd, type Side, type SocketPair } from './fixture.ts'

const open: SocketPair[] = []
afterEach(() => {
  vi.useRealTimers()
  for (const pair of open.splice(0)) pair.close()
})

async function sockets(): Promise<SocketPair> {
  const pair = await openSockets()
  open.push(pair)
  return pair
}

async function link(far: Side = {}, near: Side = {}): Promise<{ near: LinkEnd; far: LinkEnd }> {
  const pair = await sockets()
  return { near: wireOver(pair.near, near), far: wireOver(pair.far, far) }
}

/** A wire on the near end; the far end speaks raw frames. */
async function scripted(near: Side = {}): Promise<{ near: LinkEnd; far: WebSocket; heard: string[] }> {
  const pair = await sockets()
  const heard: string[] = []
  pair.far.on('message', (data: Buffer) => heard.push(data.toString()))
  return { near: wireOver(pair.near, near), far: pair.far, heard }
}

const lost = expect.objectContaining({ code: 'LINK_LOST' }) as Error

describe('frames', () => {
  test('all messages of one tick travel in one frame, in their order', async () => {
    const { near, heard } = await scripted()
    near.wire.send('count', 1)
    near.wire.send('note', { text: 'ü' })
    void near.wire.request('sum', { a: 1, b: 2 }).catch(() => {})
    await until(() => heard.length > 0)
    near.wire.send('count', 2)
    await until(() => heard.length > 1)
    expect(heard).toEqual(['[["count",1],["note",{"text":"ü"}],["sum",{"a":1,"b":2},1]]', '[["count",2]]'])
  })

  test('much in one tick is cut into frames that the other side takes', async () => {
    const texts: string[] = []
    const { near, far } = await link({ notices: { note: ({ text }) => void texts.push(text.slice(0, 5)) } })
    const sizes: number[] = []
    far.socket.on('message', (data: Buffer) => sizes.push(data.length))
    const text = '€'.repeat(100_000)
    for (let i = 0; i < 40; i++) near.wire.send('note', { text: `${i}`.padStart(5, '0') + text })
    await until(() => texts.length === 40)
    expect(texts.map(Number)).toEqual(Array.from({ length: 40 }, (_, i) => i))
    expect(Math.max(...sizes)).toBeLessThan(MAX_FRAME_BYTES / 2)
  })

  test('what was queued before a close still arrives', async () => {
    const counts: number[] = []
    const { near, far } = await link({ notices: { count: (n) => void counts.push(n) } })
    near.wire.send('count', 7)
    near.wire.close(CLOSE.GOING_AWAY, 'bye')
    await until(() => far.ends.length > 0 && near.ends.length > 0)
    expect(counts).toEqual([7])
    expect(far.ends).toEqual([{ code: 1001, reason: 'bye' }])
  })

  test('what arrived before the peer closed is worked off first, also when it is much', async () => {
    const counts: number[] = []
    const { near, far } = await link({
      notices: {
        count: (n) => {
          counts.push(n)
          busy(4)
        },
      },
    })
    for (let n = 0; n < 60; n++) near.socket.send(`[["count",${n}]]`)
    near.wire.close(CLOSE.GOING_AWAY, 'bye')
    await until(() => far.ends.length > 0)
    expect(counts).toHaveLength(60)
  })

  test('nothing can be said on a link that is gone, and saying it is no error', async () => {
    const { near } = await link()
    near.wire.terminate()
    near.wire.send('count', 1)
    near.wire.close(CLOSE.GOING_AWAY, '')
    near.wire.terminate()
    await expect(near.wire.request('sum', { a: 1, b: 1 })).rejects.toEqual(lost)
    await expect(near.wire.alive(100)).resolves.toBe(false)
    expect(near.ends).toHaveLength(1)
  })

  test('any reason fits into the close frame', async () => {
    const character = fc
      .integer({ max: 0x10ffff, min: 0 })
      .filter((code) => (code < 0xd800 || code > 0xdfff) && code !== 0xfffd)
      .map((code) => String.fromCodePoint(code))
    const reasons = fc.array(character, { maxLength: 100 }).map((list) => list.join(''))
    await fc.assert(
      fc.asyncProperty(reasons, async (reason) => {
        const { near, far } = await link()
        near.wire.close(CLOSE.GOING_AWAY, reason)
        await until(() => far.ends.length > 0)
        expect(far.ends[0]?.code).toBe(1001)
        const told = far.ends[0]?.reason ?? ''
        expect(Buffer.from(reason).toString().startsWith(told)).toBe(true)
        expect(Buffer.byteLength(told)).toBeGreaterThan(Math.min(119, Buffer.byteLength(reason) - 1))
      }),
      { numRuns: 15 },
    )
  })
})

describe('requests', () => {
  test('T130: ten links with parallel requests each get their own answers', async () => {
    const slow = async ({ a, b }: { a: number; b: number }): Promise<number> => {
      for (let turns = a % 5; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve))
      return a + b
    }
    const links = await Promise.all(Array.from({ length: 10 }, () => link({ requests: { sum: slow } })))
    const sums = await Promise.all(
      links.flatMap(({ near }, a) =>
        Array.from({ length: 20 }, (_, b) => near.wire.request('sum', { a: a * 1_000 + b, b })),
      ),
    )
    expect(sums).toEqual(links.flatMap((_, a) => Array.from({ length: 20 }, (_, b) => a * 1_000 + 2 * b)))
  })

  test('T096: a request that nobody answers ends at its deadline', async () => {
    const { near } = await link()
    await expect(near.wire.request('never', { a: 1, b: 1 }, 20)).rejects.toMatchObject({
      code: 'LINK_DEADLINE',
    })
  })

  test('an answer after the deadline changes nothing', async () => {
    let answer = (_sum: number): void => {}
    const { near, far } = await link({
      requests: { sum: () => new Promise((resolve) => (answer = resolve)) },
    })
    await expect(near.wire.request('sum', { a: 1, b: 1 }, 20)).rejects.toMatchObject({
      code: 'LINK_DEADLINE',
    })
    answer(2)
    await expect(far.wire.request('sum', { a: 2, b: 2 })).resolves.toBe(4)
    expect(near.wire.open).toBe(true)
  })

  test('T126: everything that is pending when the link ends fails at once with LINK_LOST', async () => {
    const { near, far } = await link()
    const pending = [1, 2, 3].map((a) => near.wire.request('never', { a, b: 0 }))
    const outcomes = Promise.allSettled(pending)
    await near.wire.request('sum', { a: 1, b: 1 })
    far.socket.terminate()
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: lost })
    expect(near.ends).toHaveLength(1)
  })

  test('T126: a request that the other side does not know is answered, and the link stays', async () => {
    const { far, heard } = await scripted()
    far.send('[["later",{},1],["constructor",{},2],["sum",{"a":1,"b":2},3]]')
    await until(() => heard.join().includes('["=",3,3]'))
    expect(heard.join()).toContain('"UNKNOWN_REQUEST"')
    expect(heard.join().match(/UNKNOWN_REQUEST/g)).toHaveLength(2)
  })

  test('T124: the code and the text of a refusal travel; other errors are INTERNAL', async () => {
    const { near } = await link({
      requests: {
        sum: ({ a }) =>
          Promise.reject(a === 1 ? new SshoalError('NO_SUCH', 'there is none') : new TypeError('oops')),
      },
    })
    await expect(near.wire.request('sum', { a: 1, b: 0 })).rejects.toMatchObject({
      code: 'NO_SUCH',
      message: 'there is none',
    })
    await expect(near.wire.request('sum', { a: 2, b: 0 })).rejects.toMatchObject({ code: 'INTERNAL' })
  })

  test('a request handler that throws before it has a promise costs that request, not the process', async () => {
    const { near } = await link({
      requests: {
        sum: () => {
          throw new SshoalError('NOT_WELCOMED', 'no')
        },
      },
    })
    await expect(near.wire.request('sum', { a: 1, b: 0 })).rejects.toMatchObject({ code: 'NOT_WELCOMED' })
    await expect(near.wire.request('sum', { a: 1, b: 0 })).rejects.toMatchObject({ code: 'NOT_WELCOMED' })
  })

  test('an answer of the wrong shape rejects its request and ends the link', async () => {
    const { near, far } = await scripted()
    far.on('message', () => far.send('[["=","three",1]]'))
    await expect(near.wire.request('sum', { a: 1, b: 2 })).rejects.toMatchObject({ code: 'BAD_FRAME' })
    await until(() => near.ends.length > 0)
    expect(near.ends[0]?.code).toBe(CLOSE.BAD_FRAME)
  })

  test('answers to nothing are ignored', async () => {
    const { near, far } = await scripted()
    far.send('[["=",1,99],["!",null,98],["=",1],["=",1,"x"]]')
    far.on('message', () => far.send('[["=",3,1]]'))
    await expect(near.wire.request('sum', { a: 1, b: 2 })).resolves.toBe(3)
  })
})

describe('what the other side may do', () => {
  test('messages of an unknown type are ignored and counted', async () => {
    const counts: number[] = []
    const { near, far } = await scripted({ notices: { count: (n) => void counts.push(n) } })
    far.send('[["future",{"x":1}],["__proto__",{}],["count",1]]')
    await until(() => counts.length === 1)
    expect(near.wire.unknownMessages).toBe(2)
  })

  test.each([
    'x',
    '',
    '{}',
    'null',
    '[1]',
    '[[1,{}]]',
    '[[]]',
    '[["note"]]',
    '[["note",{"text":1}]]',
    '[["count",1,null]]',
    '[["sum",{"a":1},1]]',
    '[["sum",{"a":1,"b":2},"1"]]',
  ])('the frame %j closes the link with 4400', async (frame) => {
    const { near, far } = await scripted()
    far.send(frame)
    await until(() => near.ends.length > 0)
    expect(near.ends[0]?.code).toBe(CLOSE.BAD_FRAME)
  })

  test('a binary frame closes the link with 4400', async () => {
    const { near, far } = await scripted()
    far.send(Buffer.from('[]'))
    await until(() => near.ends.length > 0)
    expect(near.ends[0]?.code).toBe(CLOSE.BAD_FRAME)
  })

  test('nothing behind a bad frame is listened to', async () => {
    const counts: number[] = []
    const { near, far } = await scripted({ notices: { count: (n) => void counts.push(n) } })
    far.send('[["count",1],["count","x"],["count",2]]')
    far.send('[["count",3]]')
    await until(() => near.ends.length > 0)
    expect(counts).toEqual([1])
  })

  test('a frame over 8 MiB ends the link instead of filling the memory', async () => {
    const { near, far } = await link()
    const ends: number[] = []
    near.socket.on('close', (code) => ends.push(code))
    near.socket.send('x'.repeat(MAX_FRAME_BYTES + 1))
    await until(() => ends.length > 0 && far.ends.length > 0)
    expect(ends).toEqual([1009])
  })

  test('a notice handler that throws costs that message, not the link', async () => {
    const counts: number[] = []
    const { near } = await link({
      notices: {
        count: (n) => {
          if (n === 1) throw new Error('boom')
          counts.push(n)
        },
      },
    })
    for (const n of [1, 2]) near.wire.send('count', n)
    await expect(near.wire.request('sum', { a: 1, b: 1 })).resolves.toBe(2)
    expect(counts).toEqual([2])
  })

  test('any text is a frame, or closes with 4400; it never throws', async () => {
    const message = fc.tuple(
      fc.constantFrom('note', 'count', 'sum', 'never', '=', '!', 'other'),
      fc.oneof(fc.jsonValue(), fc.record({ a: fc.integer(), b: fc.integer() }), fc.integer()),
      fc.option(fc.oneof(fc.nat(3), fc.string()), { nil: undefined }),
    )
    const frames = fc.oneof(
      fc.json(),
      fc.array(message, { maxLength: 4 }).map((list) => JSON.stringify(list)),
    )
    await fc.assert(
      fc.asyncProperty(frames, async (frame) => {
        const { near, far } = await scripted()
        let ponged = false
        far.on('pong', () => (ponged = true))
        far.send(frame)
        far.ping()
        await until(() => ponged || near.ends.length > 0)
        for (const { code } of near.ends) expect(code).toBe(CLOSE.BAD_FRAME)
      }),
      { numRuns: 40 },
    )
  })
})

describe('liveness', () => {
  test('pings are answered while a huge snapshot is being read', async () => {
    let read = 0
    const { near } = await link({
      notices: {
        note: () => {
          read++
          busy(10)
        },
      },
    })
    for (let frame = 0; frame < 30; frame++)
      near.socket.send(JSON.stringify([['note', { text: `${frame}` }]]))
    await expect(near.wire.alive(5_000)).resolves.toBe(true)
    expect(read).toBeLessThan(30)
    await until(() => read === 30)
  })

  test('with much to work off a link is read no further, and goes on when that is done', async () => {
    let read = 0
    let paused = false
    const { near, far } = await link({
      notices: {
        note: () => {
          read++
          paused ||= far.socket.isPaused
          busy(2)
        },
      },
    })
    const text = 'x'.repeat(20_000)
    for (let frame = 0; frame < 40; frame++) near.socket.send(JSON.stringify([['note', { text }]]))
    await until(() => read === 40)
    expect(paused).toBe(true)
    await until(() => !far.socket.isPaused)
    await expect(near.wire.alive(5_000)).resolves.toBe(true)
  })

  test('a peer that does not answer a ping in time is not alive', async () => {
    const { near, far } = await link()
    far.socket.pause()
    await expect(near.wire.alive(30)).resolves.toBe(false)
    far.socket.resume()
    await expect(near.wire.alive(5_000)).resolves.toBe(true)
  })

  test('a silent link is ended within six seconds, not before five', () => {
    const { socket, end } = silentLink()
    vi.advanceTimersByTime(SILENT_AFTER_MS - 1_001)
    expect(end.ends).toEqual([])
    // A millisecond more: the clock of the test runs an immediate in the next one.
    vi.advanceTimersByTime(1_002)
    expect(end.ends).toMatchObject([{ code: CLOSE.SILENT }])
    expect(socket.pings).toBe(2)
  })

  test('a dial that nobody has answered yet is not silent, and the time counts from the answer', () => {
    const { socket, end } = silentLink(WebSocket.CONNECTING)
    vi.advanceTimersByTime(2 * SILENT_AFTER_MS)
    expect(end.ends).toEqual([])
    socket.readyState = WebSocket.OPEN
    socket.emit('open')
    vi.advanceTimersByTime(SILENT_AFTER_MS - 2_000)
    expect(end.ends).toEqual([])
    vi.advanceTimersByTime(2_002)
    expect(end.ends).toMatchObject([{ code: CLOSE.SILENT }])
  })

  test('anything that is heard keeps the link', () => {
    const { socket, end } = silentLink()
    for (const event of ['pong', 'ping', 'pong', 'ping']) {
      vi.advanceTimersByTime(4_500)
      socket.emit(event)
    }
    expect(end.ends).toEqual([])
  })

  test('a process that was stopped reads what waits before it judges the other side', () => {
    const { socket, end } = silentLink()
    vi.advanceTimersByTime(2_500)
    const later = performance.now() + 3_600_000
    vi.spyOn(performance, 'now').mockImplementation(() => later)
    setImmediate(() => socket.emit('pong'))
    vi.advanceTimersByTime(4_000)
    expect(end.ends).toEqual([])
    vi.restoreAllMocks()
  })
})

test('whatever both sides say at once, notices keep their order and every request gets its own answer', async () => {
  const heard: Record<'near' | 'far', number[]> = { near: [], far: [] }
  const turns = async ({ a, b }: { a: number; b: number }): Promise<number> => {
    for (let turn = 0; turn < b; turn++) await new Promise((resolve) => setImmediate(resolve))
    return a + b
  }
  const ends = await link(
    { notices: { count: (n) => void heard.far.push(n) }, requests: { sum: turns } },
    { notices: { count: (n) => void heard.near.push(n) }, requests: { sum: turns } },
  )
  const step = fc.record({
    from: fc.constantFrom('near' as const, 'far' as const),
    asks: fc.boolean(),
    n: fc.nat(1_000),
    b: fc.nat(4),
    pause: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      heard.near = []
      heard.far = []
      const sums: Promise<void>[] = []
      for (const { from, asks, n, b, pause } of steps) {
        if (asks)
          sums.push(
            ends[from].wire.request('sum', { a: n, b }).then((sum) => {
              expect(sum).toBe(n + b)
            }),
          )
        else ends[from].wire.send('count', n)
        if (pause) await new Promise((resolve) => setImmediate(resolve))
      }
      await Promise.all([
        ...sums,
        ends.near.wire.request('sum', { a: 0, b: 0 }),
        ends.far.wire.request('sum', { a: 0, b: 0 }),
      ])
      const said = (from: string): number[] => steps.filter((s) => s.from === from && !s.asks).map((s) => s.n)
      expect(heard).toEqual({ near: said('far'), far: said('near') })
    }),
    { numRuns: 40 },
  )
})

function busy(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

/** A socket whose other end never says anything, on a clock of ours. */
class SilentSocket extends EventEmitter {
  readyState: number = WebSocket.OPEN
  bufferedAmount = 0
  pings = 0
  ping(): void {
    this.pings++
  }
  send(): void {}
  close(): void {}
  terminate(): void {}
}

function silentLink(readyState: number = WebSocket.OPEN): { socket: SilentSocket; end: LinkEnd } {
  vi.useFakeTimers()
  const socket = new SilentSocket()
  socket.readyState = readyState
  return { socket, end: wireOver(socket as unknown as WebSocket) }
}
