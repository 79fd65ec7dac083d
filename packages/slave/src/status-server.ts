// The slave's own small HTTP server: /healthz, /readyz and /metrics. Reads, never changes anything.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

import { formatHostPort, type HostPort } from '@sshoal/shared'
import type { Registry } from 'prom-client'

export interface StatusSource {
  registry: Registry
  /** Accepts devices: listening and not draining, linked or not. */
  ready(): boolean
  health(): Record<string, unknown>
}

export interface StatusServer {
  url: string
  close(): Promise<void>
}

/** Rejects with the error of listen(2). */
export async function startStatusServer(listen: HostPort, source: StatusSource): Promise<StatusServer> {
  const server = createServer((request, response) => {
    answer(request, response, source).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(listen.port, listen.host, resolve)
  })
  const { address, port } = server.address() as AddressInfo
  return {
    url: `http://${formatHostPort(address, port)}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  source: StatusSource,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD')
    return json(response, 405, { error: 'only GET is answered here', code: 'METHOD_NOT_ALLOWED' })
  }
  switch (request.url?.split('?')[0]) {
    case '/healthz':
      return json(response, 200, { status: 'ok', ...source.health() })
    case '/readyz':
      return source.ready()
        ? json(response, 200, { status: 'ready' })
        : json(response, 503, { error: 'this slave takes no devices now', code: 'NOT_READY' })
    case '/metrics':
      response.setHeader('content-type', source.registry.contentType)
      response.end(await source.registry.metrics())
      return
    default:
      return json(response, 404, { error: 'there are /healthz, /readyz and /metrics', code: 'NOT_FOUND' })
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(`${JSON.stringify(body)}\n`)
}
