// What visits cost the engine of a slave when there are very many packets or visits of them, in a process of their own: what
// others left behind in the same one would be counted too.
import { message } from '@sshoal/shared/ssh-wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import {
  FORWARD,
  memory,
  openVisit,
  ORIGIN,
  sendRaw,
  socketPair,
  startRawDevice,
  startServer,
  until,
  type Fixture,
} from '../../packages/slave/test/ssh2/fixture.ts'

let fixture: Fixture
beforeEach(async () => {
  fixture = await startServer()
})
afterEach(() => fixture.close())

describe('a visit', () => {
  it('made of single bytes into a visitor who does not read costs little more than its window', async () => {
    const client = await startRawDevice(fixture, 1000, () => {})
    const { visitor, near } = await openVisit(fixture)
    visitor.pause()
    // Fill the socket first, so that the single bytes wait in our memory.
    near.write(Buffer.alloc(8 * 1024 * 1024))
    const before = memory()
    const data = message(94, 0, Buffer.from('x'))
    for (let i = 0; i < 200_000; i++) {
      sendRaw(client, data)
      if (i % 5000 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    const { connection } = fixture.visitors[0]!
    await until(() => performance.now() - connection.lastHeardAt > 300, 'all to arrive')
    expect(memory() - before).toBeLessThan(32 * 1024 * 1024)
  })

  it('leaves nothing behind: 8,000 of them', async () => {
    await startRawDevice(fixture, 1_000_000, (client, payload) => {
      if (payload[0] === 96 || payload[0] === 97) {
        sendRaw(client, message(payload[0], payload.readUInt32BE(1)))
      }
    })
    const { connection } = fixture.visitors[0]!
    const counts = (): number[] =>
      ['data', 'drain', 'close', 'error', 'end'].map((name) => connection.socket.listenerCount(name))
    const before = counts()
    let start = 0
    for (let i = 0; i < 13_000; i++) {
      const channel = await connection.openForwarded(FORWARD, ORIGIN)
      if (i % 20 === 0) {
        const [visitor, near] = await socketPair()
        visitor.end('x')
        visitor.resume()
        await channel.pump(near)
      } else {
        channel.destroy()
      }
      // By then the engine has compiled what it will, and its pools are full.
      if (i === 5_000) start = memory()
    }
    expect(counts()).toEqual(before)
    expect(memory() - start).toBeLessThan(8 * 1024 * 1024)
  })
})
