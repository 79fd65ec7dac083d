// Small TCP services for a device to expose, on a free port of 127.0.0.1 in the test's own process.

import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'

import { atEnd } from './ending.ts'

export interface Service {
  host: string
  port: number
  /** Connections that are open now. */
  readonly open: number
  /** Connections that there ever were. */
  readonly accepted: number
  close(): Promise<void>
}

async function listen(server: Server): Promise<Service> {
  const sockets = new Set<Socket>()
  let accepted = 0
  server.on('connection', (socket: Socket) => {
    accepted++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
  atEnd(close)
  return {
    host: '127.0.0.1',
    port,
    get open() {
      return sockets.size
    },
    get accepted() {
      return accepted
    },
    close,
  }
}

/** Sends back what it gets. With `whole` it keeps all and answers only after the visitor's EOF. */
export function startEcho({ whole = false } = {}): Promise<Service> {
  return listen(
    createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      if (!whole) {
        socket.pipe(socket)
        return
      }
      const kept: Buffer[] = []
      socket.on('data', (chunk: Buffer) => kept.push(chunk))
      socket.on('end', () => socket.end(Buffer.concat(kept)))
    }),
  )
}

/** Answers every request with this body. */
export function startHttp(body: string): Promise<Service> {
  return listen(
    createHttpServer((_request, response) => {
      response.setHeader('content-type', 'text/plain')
      response.end(body)
    }),
  )
}

/** Accepts and then neither reads nor writes. */
export function startSilent(): Promise<Service> {
  return listen(createServer({ pauseOnConnect: true, allowHalfOpen: true }, () => {}))
}
