// Lets slaves in on `WS /slaves`: the token at the upgrade, then slave-link.ts. Ends what a revoked token opened.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

import { CLOSE, MAX_FRAME_BYTES, plainAddress, SUBPROTOCOL } from '@sshoal/shared'
import { WebSocketServer } from 'ws'

import type { LiveCluster } from './live-cluster.ts'
import { SlaveLink } from './slave-link.ts'

export interface LinkServerDeps {
  cluster: LiveCluster
  /** The id of the slave token, or undefined: not let in. */
  authenticate(bearer: string): Promise<string | undefined>
  /** The peer's address behind trusted proxies. */
  addressOf(request: IncomingMessage): string
}

export class LinkServer {
  readonly #deps: LinkServerDeps
  readonly #server = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_FRAME_BYTES,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  })
  readonly #links = new Map<SlaveLink, string>()

  constructor(deps: LinkServerDeps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#links.size
  }

  /** The handler of the HTTP server's `upgrade` event. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    // Not `new URL`, which throws on some of what a stranger may send, such as "//".
    if (request.url?.split('?')[0] !== '/slaves') return refuse(socket, 404, 'there is no WebSocket here')
    const offered = request.headers['sec-websocket-protocol'] ?? ''
    if (!offered.split(',').some((name) => name.trim() === SUBPROTOCOL))
      return refuse(socket, 400, `the subprotocol is ${SUBPROTOCOL}`)
    const bearer = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? ''
    this.#deps.authenticate(bearer).then(
      (token) => {
        if (token === undefined) return refuse(socket, 401, 'a slave token is needed')
        this.#server.handleUpgrade(request, socket, head, (webSocket) => {
          const link = new SlaveLink(
            this.#deps.cluster,
            webSocket,
            plainAddress(this.#deps.addressOf(request)),
            () => this.#links.delete(link),
          )
          this.#links.set(link, token)
        })
      },
      () => refuse(socket, 503, 'the store does not answer'),
    )
  }

  /** Closes the links that came in with this token. */
  revoked(token: string): void {
    for (const [link, opened] of this.#links)
      if (opened === token) link.close(CLOSE.UNAUTHORIZED, 'the token was revoked')
  }

  close(): void {
    for (const link of this.#links.keys()) link.close(CLOSE.GOING_AWAY, 'the master stops')
    this.#server.close()
  }
}

const STATUS: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  503: 'Service Unavailable',
}

function refuse(socket: Duplex, status: number, error: string): void {
  const body = JSON.stringify({ error, code: (STATUS[status] ?? 'ERROR').toUpperCase().replaceAll(' ', '_') })
  const head = [
    `HTTP/1.1 ${status} ${STATUS[status]}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  // A stranger who keeps his side open must not keep a descriptor.
  socket.once('finish', () => socket.destroy())
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
