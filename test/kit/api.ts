// The master's REST as a program uses it: a token in the header, JSON in and out, events as a stream.

import { atEnd } from './ending.ts'
import { run } from './run.ts'
import { eventually } from './wait.ts'

export interface Answer<T = unknown> {
  status: number
  headers: Headers
  /** Parsed where it is JSON, else the text. */
  body: T
}

export interface Api {
  url: string
  /** None: asks as anyone. */
  token?: string | undefined
  /** Asks from inside this network namespace (with curl). */
  netns?: string | undefined
}

export async function callApi<T = unknown>(
  { url, token, netns }: Api,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answer<T>> {
  const headers: Record<string, string> = {}
  if (token !== undefined) headers.authorization = `Bearer ${token}`
  if (body !== undefined) headers['content-type'] = 'application/json'
  // A string goes as it is, so that a test can send what is not JSON.
  const sent = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
  if (netns === undefined) {
    const response = await fetch(url + path, {
      method,
      headers,
      ...(sent === undefined ? {} : { body: sent }),
    })
    return { status: response.status, headers: response.headers, body: parse(await response.text()) as T }
  }
  const given = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
  const data = sent === undefined ? [] : ['--data-binary', sent]
  const args = ['-sS', '-i', '-X', method, ...given, ...data, url + path]
  const ran = await run('curl', args, { netns })
  if (ran.status !== 0) throw new Error(`${method} ${path}: ${ran.stderr.trim()}`)
  const [head = '', ...rest] = ran.stdout.split('\r\n\r\n')
  const [statusLine = '', ...fields] = head.split('\r\n')
  return {
    status: Number(statusLine.split(' ')[1]),
    headers: new Headers(
      fields.map((field) => [field.split(':', 1)[0] ?? '', field.replace(/^[^:]*: */, '')]),
    ),
    body: parse(rest.join('\r\n\r\n')) as T,
  }
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text)
  } catch {
    return text
  }
}

export interface ClusterEvent {
  id: string
  type: string
  data: Record<string, unknown>
}

export interface Events {
  /** All that came so far, in order. */
  list: ClusterEvent[]
  /** The first of this type whose data has these fields, also if it came before. */
  next(type: string, fields?: Record<string, unknown>, within?: number): Promise<ClusterEvent>
  close(): void
}

/** Follows `GET /cluster/events`; answers when the stream is open. */
export async function followEvents({ url, token }: Api, lastEventId?: string): Promise<Events> {
  const stop = new AbortController()
  const headers = {
    authorization: `Bearer ${token}`,
    accept: 'text/event-stream',
    ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
  }
  const response = await fetch(`${url}/cluster/events`, { headers, signal: stop.signal })
  if (response.status !== 200 || response.body === null) {
    throw new Error(`GET /cluster/events: ${response.status} ${await response.text()}`)
  }
  const list: ClusterEvent[] = []
  const read = async (body: AsyncIterable<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder()
    let text = ''
    for await (const chunk of body) {
      text += decoder.decode(chunk, { stream: true })
      const blocks = text.split(/\r?\n\r?\n/)
      text = blocks.pop() ?? ''
      for (const block of blocks) list.push(...parseEvent(block))
    }
  }
  // It ends when the test closes it or the master goes; what came until then stays in the list.
  read(response.body).catch(() => {})
  const close = (): void => {
    stop.abort()
  }
  atEnd(close)
  return {
    list,
    next(type, fields = {}, within = 20_000) {
      const fits = ({ type: is, data }: ClusterEvent): boolean =>
        is === type && Object.entries(fields).every(([name, value]) => data[name] === value)
      const message = `an event ${type} ${JSON.stringify(fields)} comes`
      return eventually(
        () => {
          const found = list.find(fits)
          if (found === undefined) throw new Error(`came: ${JSON.stringify(list)}`)
          return found
        },
        { within, message },
      )
    },
    close,
  }
}

/** Comments (the heartbeat) are no events. */
function parseEvent(block: string): ClusterEvent[] {
  const field = (name: string): string =>
    block
      .split(/\r?\n/)
      .filter((line) => line.startsWith(`${name}:`))
      .map((line) => line.slice(name.length + 1).replace(/^ /, ''))
      .join('\n')
  const data = parse(field('data'))
  if (data === undefined) return []
  return [{ id: field('id'), type: field('event'), data: data as Record<string, unknown> }]
}
