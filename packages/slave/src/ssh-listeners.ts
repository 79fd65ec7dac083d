// The sockets on which devices connect. Listens before the slave meets its master, so that the first hello has real ports.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'

import { formatHostPort, SshoalError, type HostPort } from '@sshoal/shared'

import { acceptCheaply } from './ssh2/index.ts'

export interface SshListeners {
  ports: number[]
  /** Hands over every connection from now on, and those that came since listening began. */
  take(onSocket: (socket: Socket) => void): void
  /** Takes no new connections from now on. */
  close(): void
}

/** Rejects with LISTEN_FAILED naming the address, and then none listens. */
export async function startSshListeners(addresses: readonly HostPort[]): Promise<SshListeners> {
  const early: Socket[] = []
  let onSocket = (socket: Socket): void => {
    // Reset by its client before anybody took it.
    socket.on('error', () => socket.destroy())
    early.push(socket)
  }
  const servers: Server[] = []
  const close = (): void => {
    for (const server of servers) server.close()
  }
  for (const { host, port } of addresses) {
    // Half-open: the SSH engine decides when a connection is over. 1,024: a storm of devices waits here, not at the client.
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    servers.push(server)
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host, port, backlog: 1_024 }, resolve)
      })
    } catch (error) {
      close()
      const text = error instanceof Error ? error.message : String(error)
      throw new SshoalError(
        'LISTEN_FAILED',
        `cannot listen for SSH on ${formatHostPort(host, port)}: ${text}`,
        { cause: error },
      )
    }
    acceptCheaply(server)
    server.on('connection', (socket) => onSocket(socket))
    // accept(2) fails when descriptors run out; those who wait in the backlog are taken when there are some again.
    server.on('error', () => {})
  }
  return {
    ports: servers.map((server) => (server.address() as AddressInfo).port),
    take(taker) {
      onSocket = taker
      for (const socket of early.splice(0)) taker(socket)
    },
    close,
  }
}
