// A master that answers what the test tells it, and remembers what it was asked.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

import { onTestFinished } from 'vitest'

export interface Asked {
  method: string
  path: string
  headers: IncomingMessage['headers']
  body: string
}

export interface RestPeer {
  url: string
  asked: Asked[]
  close: () => void
}

/** Answers each request with what `answer` returns as JSON, or lets it write the response by itself. */
export async function startRestPeer(
  answer: (asked: Asked, response: ServerResponse) => unknown,
): Promise<RestPeer> {
  const asked: Asked[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request
      const one = { method, path, headers, body: Buffer.concat(chunks).toString() }
      asked.push(one)
      const json = answer(one, response)
      if (json !== undefined) response.setHeader('content-type', 'application/json').end(JSON.stringify(json))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = (): void => {
    server.close()
    server.closeAllConnections()
  }
  onTestFinished(close)
  return { url: `http://127.0.0.1:${port}`, asked, close }
}
