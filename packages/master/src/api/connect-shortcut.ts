// The way of the usual `/connect` past the framework, whose router, hooks and serializers cost more than the choice of a slave:
// after an outage a whole fleet asks at once. What it does not know to the letter goes on to the route, which answers the same.
import type { IncomingMessage, ServerResponse } from 'node:http'

import type { Log } from '@sshoal/shared'

import type { SlotRequest } from '../cluster/cluster.ts'
import { nameOfHost } from './asked-host.ts'
import { answerOf, JSON_TYPE, type ConnectAnswer, type ConnectDesk } from './connect-desk.ts'
import { wantsText, type ConnectFormat } from './connect-format.ts'
import { answerError } from './error-body.ts'

interface Asked {
  wish: SlotRequest
  format: ConnectFormat | undefined
}

/** True: it is answered, or will be. */
export type Shortcut = (request: IncomingMessage, response: ServerResponse) => boolean

export interface ShortcutDeps {
  desk: ConnectDesk
  /** Headers of a proxy may say where a request comes from. */
  proxied: boolean
  /** False: the route answers everything, as while the server closes. */
  open: () => boolean
  log: Log
}

export function connectShortcut({ desk, proxied, open, log }: ShortcutDeps): Shortcut {
  return (request, response) => {
    const asked = read(request.url ?? '')
    if (!asked || !open() || !isPlain(request, proxied)) return false
    const source = request.socket.remoteAddress
    if (source === undefined) return false
    const fail = (error: unknown): void => {
      log.error({ err: error }, 'a request failed')
      const { status, body } = answerError(error)
      send(response, answerOf(status, JSON_TYPE, JSON.stringify(body)))
    }
    try {
      const answer = desk.limit(source) ?? answerTo(asked, request)
      // Without Redis it is there at once, and a promise of it would cost as much as the choice.
      if (answer instanceof Promise) answer.then((made) => send(response, made), fail)
      else send(response, answer)
    } catch (error) {
      fail(error)
    }
    return true
  }

  function answerTo({ wish, format }: Asked, request: IncomingMessage): ReturnType<ConnectDesk['slot']> {
    const { headers, socket } = request
    return desk.slot(wish, wantsText(format, headers.accept), () =>
      nameOfHost(headers.host, socket.localAddress),
    )
  }
}

function send(response: ServerResponse, { status, head, body }: ConnectAnswer): void {
  response.writeHead(status, head as string[])
  response.end(body)
}

/** Without a body, and with nothing that says who stands behind a proxy. */
function isPlain({ method, headers }: IncomingMessage, proxied: boolean): boolean {
  if (method !== 'GET' && method !== 'POST') return false
  if (headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0') return false
  if (method === 'POST' && headers['content-type'] !== undefined) return false
  return !proxied || (headers['x-forwarded-for'] === undefined && headers['x-forwarded-host'] === undefined)
}

const BARE: Asked = { wish: {}, format: undefined }

/** Only what needs no decoding, each at most once, as the device script writes it. */
function read(url: string): Asked | undefined {
  if (!url.startsWith('/connect')) return undefined
  if (url.length === 8) return BARE
  if (url[8] !== '?') return undefined
  const asked: Asked = { wish: {}, format: undefined }
  for (const part of url.slice(9).split('&')) if (!take(asked, part)) return undefined
  return asked
}

function take(asked: Asked, part: string): boolean {
  const { wish } = asked
  if (part.startsWith('region=') && wish.region === undefined) {
    wish.region = part.slice(7)
    return /^[a-z0-9-]{1,63}$/i.test(wish.region)
  }
  if (part.startsWith('port=') && wish.port === undefined) {
    wish.port = Number(part.slice(5))
    return /^[1-9]\d{0,4}$/.test(part.slice(5)) && wish.port <= 65_535
  }
  if ((part !== 'format=text' && part !== 'format=json') || asked.format !== undefined) return false
  asked.format = part === 'format=text' ? 'text' : 'json'
  return true
}
