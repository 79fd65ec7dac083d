// One `-R` of a tunnel. Bound: a listening socket on the slave whose visitors travel to the device. Named: no socket,
// no port; it is listed, and the gate reaches it. Knows its connection only as something that opens channels.
import { createServer, isIP, type Server, type Socket } from 'node:net'

import { plainAddress, type Forward } from '@sshoal/shared'

import { acceptCheaply } from './ssh2/index.ts'
import type { ForwardRequest, SshConnection } from './ssh2/index.ts'
import type { Visits } from './visits.ts'

export interface LiveForward {
  readonly request: ForwardRequest
  /** As the wire and REST show it. */
  readonly shown: Forward
  /** Closes the listening socket in this step; visits that are under way go on. */
  close(): void
}

/** Whether listen(2) works there now; any error means no. */
export async function canListen(address: string, port: number): Promise<boolean> {
  const server = createServer()
  const listening = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false))
    server.listen({ host: address, port, exclusive: true }, () => resolve(true))
  })
  if (listening) await new Promise<void>((resolve) => server.close(() => resolve()))
  return listening
}

const LOWEST_BOUND_PORT = 1_024

/** Design, "SSH behaviour": `-R 0` or a port in the range, on no address, `*`, `localhost` or an IP, is bound; all else is named. */
export function isBound(request: ForwardRequest, inRange: (port: number) => boolean): boolean {
  return (
    isOwnAddress(request.bindAddress) &&
    (request.bindPort === 0 || (request.bindPort >= LOWEST_BOUND_PORT && inRange(request.bindPort)))
  )
}

function isOwnAddress(address: string): boolean {
  return address === '' || address === '*' || address.toLowerCase() === 'localhost' || isIP(address) !== 0
}

/** The name of a named forward: what was asked, without case; a plain address has none (""). Undefined: not a usable name. */
export function forwardName(request: ForwardRequest): string | undefined {
  if (isOwnAddress(request.bindAddress)) return ''
  const name = request.bindAddress.toLowerCase()
  return /^[a-z0-9-]{1,63}$/.test(name) ? name : undefined
}

/** The client matches a visit by what it was told: the address verbatim, and for port 0 the port it was given. */
export function toldOf({ request, shown }: Pick<LiveForward, 'request' | 'shown'>): ForwardRequest {
  return {
    bindAddress: request.bindAddress,
    bindPort: request.bindPort === 0 ? shown.port : request.bindPort,
  }
}

export class NamedForward implements LiveForward {
  readonly request: ForwardRequest
  readonly #number: number

  constructor(request: ForwardRequest, number: number) {
    this.request = request
    this.#number = number
  }

  get shown(): Forward {
    return {
      kind: 'named',
      bindAddress: this.request.bindAddress,
      bindPort: this.request.bindPort,
      port: this.#number,
    }
  }

  close(): void {}
}

export interface BoundForwardOptions {
  request: ForwardRequest
  address: string
  port: number
  connection: SshConnection
  visits: Visits
  onClosed(): void
  /** The listening socket failed by itself. */
  onFailed(error: Error): void
}

export class BoundForward implements LiveForward {
  readonly request: ForwardRequest
  readonly #options: BoundForwardOptions
  readonly #server: Server
  #closed = false

  private constructor(options: BoundForwardOptions, server: Server) {
    this.request = options.request
    this.#options = options
    this.#server = server
    server.on('connection', (socket) => void this.#visit(socket))
    server.on('error', (error) => {
      if (!this.#closed) options.onFailed(error)
    })
  }

  /** Rejects with the error of listen(2), e.g. EADDRINUSE. */
  static async open(options: BoundForwardOptions): Promise<BoundForward> {
    // `allowHalfOpen`: a visitor that ended its side still gets the answer.
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: options.address, port: options.port, exclusive: true, backlog: 511 }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    acceptCheaply(server)
    return new BoundForward(options, server)
  }

  get shown(): Forward {
    return {
      kind: 'bound',
      bindAddress: this.request.bindAddress,
      bindPort: this.request.bindPort,
      port: this.#options.port,
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#server.close()
    this.#options.onClosed()
  }

  async #visit(socket: Socket): Promise<void> {
    const { connection, visits } = this.#options
    const told = toldOf(this)
    // Reset by the visitor before the device answered: the pump is not there yet to hear of it.
    socket.on('error', () => socket.destroy())
    const visit = visits.begin(socket)
    if (!visit) return void socket.destroy()
    const origin = { address: plainAddress(socket.remoteAddress ?? '0.0.0.0'), port: socket.remotePort ?? 0 }
    try {
      const channel = await connection.openForwarded(told, origin)
      visit.end(await channel.pump(socket))
    } catch (error) {
      socket.destroy()
      visit.refused(error)
    }
  }
}
