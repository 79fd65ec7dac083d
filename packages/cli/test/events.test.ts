import { expect, test } from 'vitest'

import { followEvents, parseEvents, type ServerEvent } from '../src/event-stream.ts'
import { RestClient } from '../src/rest-client.ts'
import { run } from './command.ts'
import { startRestPeer } from './rest-peer.ts'

async function parsed(...texts: string[]): Promise<ServerEvent[]> {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (const text of texts) yield new TextEncoder().encode(text)
  }
  const events: ServerEvent[] = []
  for await (const event of parseEvents(chunks())) events.push(event)
  return events
}

test('events are whole wherever the stream is cut, and comments are none', async () => {
  const whole = ': hello\r\n\r\nid: 7\nevent: tunnel.up\ndata: {"a":\ndata: 1}\n\nid:8\ndata:x\n\n'
  const expected = [
    { id: '7', type: 'tunnel.up', data: '{"a":\n1}' },
    { id: '8', type: 'message', data: 'x' },
  ]
  for (let at = 1; at < whole.length; at++)
    expect(await parsed(whole.slice(0, at), whole.slice(at))).toEqual(expected)
})

test('a broken stream goes on after the last event that was seen', async () => {
  const peer = await startRestPeer(({ headers }, response) => {
    const next = Number(headers['last-event-id'] ?? 0) + 1
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(`id: ${next}\ndata: {}\n\n`)
  })
  const stop = new AbortController()
  const rest = new RestClient({ url: peer.url, token: 't', data: '', project: undefined })
  const seen: string[] = []
  const options = { path: '/e', lastEventId: '4', onBreak: () => {}, signal: stop.signal, firstWaitMs: 1 }
  for await (const event of followEvents(rest, options)) {
    seen.push(event.id)
    if (seen.length === 3) break
  }
  expect(seen).toEqual(['5', '6', '7'])
})

test('the past is printed as one JSON per line, and then the command ends', async () => {
  const peer = await startRestPeer((_asked, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('id: 1\nevent: events.gap\ndata: {}\n\n')
    response.write('id: 2\nevent: tunnel.up\ndata: {"device":"a"}\n\n: still here\n\n')
  })
  const { code, out } = await run(['events', '--json'], { env: { SSHOAL_URL: peer.url } })
  expect({ code, out }).toEqual({ code: 0, out: '{"id":"2","type":"tunnel.up","device":"a"}\n' })
})

test('a refusal ends it, even with --follow', async () => {
  const peer = await startRestPeer((_asked, response) => {
    response.statusCode = 403
    return { error: 'not for you', code: 'FORBIDDEN' }
  })
  expect(await run(['events', '--follow'], { env: { SSHOAL_URL: peer.url } })).toMatchObject({ code: 1 })
})
