import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { startParts } from '../master-parts.ts'

/** Longer than the second that vitest gives: this machine may have other work. */
const eventually = (fact: () => void) => vi.waitFor(fact, { timeout: 10_000, interval: 5 })

let parts: Awaited<ReturnType<typeof startParts>>
let base: string

beforeEach(async () => {
  parts = await startParts()
  await parts.api.listen({ host: '127.0.0.1', port: 0 })
  base = `http://127.0.0.1:${(parts.api.server.address() as AddressInfo).port}`
})
afterEach(() => parts.close())

interface Read {
  id: number
  event: string
  data: Record<string, unknown>
}

/** Reads a stream; `events` grows, `ended` resolves with it. */
async function follow(query = '', headers: Record<string, string> = {}, token = parts.admin) {
  const response = await fetch(`${base}/cluster/events${query}`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  })
  const events: Read[] = []
  const reading = async (): Promise<void> => {
    let text = ''
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString()
      const frames = text.split('\n\n')
      text = frames.pop() ?? ''
      for (const frame of frames) {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(frame)?.[1]
        const data = field('data')
        if (data !== undefined)
          events.push({
            id: Number(field('id')),
            event: field('event') ?? '',
            data: JSON.parse(data) as Read['data'],
          })
      }
    }
  }
  return { response, events, ended: reading() }
}

describe('/cluster/events', () => {
  it('T028 tells what happens from now on, and resumes behind the last id', async () => {
    parts.events.publish('slave.ready', { slave: 'before' })
    const first = await follow()
    expect(first.response.headers.get('content-type')).toContain('text/event-stream')
    parts.events.publish('tunnel.up', { device: 'a', epoch: 5 }, { project: 'default' })
    await eventually(() => expect(first.events).toHaveLength(1))
    expect(first.events[0]).toMatchObject({
      event: 'tunnel.up',
      data: { device: 'a', epoch: 5, project: 'default', at: expect.stringMatching(/Z$/) },
    })
    parts.events.publish('tunnel.down', { device: 'a' })
    const id = first.events[0]?.id ?? 0
    for (const resumed of [
      await follow('', { 'last-event-id': String(id) }),
      await follow(`?lastEventId=${id}`),
    ])
      await eventually(() => expect(resumed.events).toMatchObject([{ event: 'tunnel.down' }]))
  })

  it('says first that something is missing where the id is gone or none', async () => {
    parts.events.publish('slave.ready', { slave: 'a' })
    for (const id of ['0', '12', 'nonsense', '99999999999999999']) {
      const late = await follow('', { 'last-event-id': id })
      await eventually(() =>
        expect(late.events.map(({ event }) => event)).toEqual(['events.gap', 'slave.ready']),
      )
      // Whoever comes back with the gap's own id is not told of a gap again.
      const again = await follow('', { 'last-event-id': String(late.events[0]?.id) })
      await eventually(() => expect(again.events.map(({ event }) => event)).toEqual(['slave.ready']))
    }
  })

  it('shows a project its own events and everybody’s', async () => {
    const acme = await follow('', {}, await parts.token('operator', 'acme'))
    const all = await follow()
    parts.events.publish('tunnel.up', { n: 1 }, { project: 'acme' })
    parts.events.publish('tunnel.up', { n: 2 }, { project: 'other' })
    parts.events.publish('slave.lost', { n: 3 })
    await eventually(() => expect(all.events).toHaveLength(3))
    await eventually(() => expect(acme.events.map(({ data }) => data.n)).toEqual([1, 3]))
  })

  it('ends when its token is revoked, and no other does', async () => {
    const { secret, id } = await parts.tokens.mint({ role: 'operator', label: 'x', project: 'default' })
    const doomed = await follow('', {}, secret)
    const other = await follow()
    expect((await parts.call('DELETE', `/tokens/${id}`)).status).toBe(204)
    await doomed.ended
    parts.events.publish('slave.ready', {})
    await eventually(() =>
      expect(other.events.map(({ event }) => event)).toEqual(['token.revoked', 'slave.ready']),
    )
    expect(doomed.events).toEqual([])
  })

  it('ends when its token does', async () => {
    const { secret } = await parts.tokens.mint({
      role: 'operator',
      label: 'x',
      project: 'default',
      expiresAt: Date.now() + 300,
    })
    await (
      await follow('', {}, secret)
    ).ended
  })

  it('ends when the master stops, which does not wait for it', async () => {
    const stream = await follow()
    await parts.api.close()
    await stream.ended
  })

  it('catches up a reader that was slow without keeping anything for it', async () => {
    const port = (parts.api.server.address() as AddressInfo).port
    const socket = connect(port, '127.0.0.1')
    const first = new Promise((resolve) => socket.once('data', resolve))
    socket.write(`GET /cluster/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${parts.admin}\r\n\r\n`)
    await first
    socket.pause()
    const payload = 'x'.repeat(10_000)
    const count = 2_000 // 20 MB, more than the sockets hold
    for (let n = 0; n < count; n++) {
      parts.events.publish('filler', { n, payload })
      if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    let seen = ''
    const done = new Promise<void>((resolve) => {
      socket.on('data', (chunk) => {
        seen = (seen + chunk.toString()).slice(-20_000)
        if (seen.includes(`"n":${count - 1},`)) resolve()
      })
    })
    socket.resume()
    await done
    socket.destroy()
  })
})
