// A visitor: opens a TCP connection to a forward and talks through it.

import { connect, type Socket } from 'node:net'

import { atEnd } from './ending.ts'
import { run } from './run.ts'
import { eventually } from './wait.ts'

export interface Address {
  host: string
  port: number
}

export interface Visit {
  socket: Socket
  /** All that came so far. */
  readonly received: Buffer
  /** The other side sent its EOF. */
  readonly ended: boolean
  /** Both directions are over; `error` says how if it was not in order. */
  readonly closed: boolean
  readonly error: Error | undefined
  send(data: string | Buffer): void
  /** Sends our EOF and goes on reading. */
  halfClose(): void
  /** Waits until at least so many bytes came. */
  receive(bytes: number, within?: number): Promise<Buffer>
  close(): void
}

export async function openVisit({ host, port }: Address): Promise<Visit> {
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true })
  const chunks: Buffer[] = []
  let ended = false
  let closed = false
  let error: Error | undefined
  socket.on('error', (failure) => {
    error = failure
  })
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('end', () => {
    ended = true
  })
  socket.on('close', () => {
    closed = true
  })
  atEnd(() => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  const visit: Visit = {
    socket,
    get received() {
      return Buffer.concat(chunks)
    },
    get ended() {
      return ended
    },
    get closed() {
      return closed
    },
    get error() {
      return error
    },
    send(data) {
      socket.write(data)
    },
    halfClose() {
      socket.end()
    },
    async receive(bytes, within = 10_000) {
      const message = `${bytes} bytes come from ${host}:${port}`
      await eventually(() => visit.received.length >= bytes, { within, message })
      return visit.received
    },
    close() {
      socket.destroy()
    },
  }
  return visit
}

/** Connects, sends, sends EOF and answers all that comes until the other side's EOF. */
export async function visit(to: Address, data: string | Buffer = '', within = 15_000): Promise<Buffer> {
  const visit = await openVisit(to)
  if (data.length > 0) visit.send(data)
  visit.halfClose()
  const message = `${to.host}:${to.port} sends its EOF`
  await eventually(
    () => {
      if (visit.error !== undefined) throw visit.error
      return visit.ended
    },
    { within, message },
  )
  visit.close()
  return visit.received
}

/** The same from inside a network namespace, by busybox nc. */
export async function visitFrom(netns: string, to: Address, data: string | Buffer = ''): Promise<Buffer> {
  const visit = await run('busybox', ['nc', to.host, String(to.port)], { netns, input: data })
  if (visit.status !== 0) throw new Error(`no visit to ${to.host}:${to.port}: ${visit.stderr}`)
  return visit.stdoutBytes
}
