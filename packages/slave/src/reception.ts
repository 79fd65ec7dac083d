// Receives raw connections: reads the PROXY header where a trusted proxy sends one, turns away sources that are over a
// limit or serve a penalty, and hands the rest on with the address that counts. Runs before any SSH, and must be cheap.
import type { Socket } from 'node:net'

import { AddressSet, plainAddress, sourceOf, type Log } from '@sshoal/shared'

import type { SlaveMetrics } from './metrics.ts'
import type { Penalties } from './penalties.ts'
import { readProxyHeader } from './proxy-header.ts'
import type { Waiting } from './startups.ts'

const PROXY_DEADLINE_MS = 5_000

/** Who connects: the device's address, also behind a proxy. */
export interface Caller {
  address: string
  source: string
}

export interface ReceptionOptions {
  /** Their connections begin with a PROXY header, and nobody else's do. */
  proxies: AddressSet
  penalties: Penalties
  waiting: Waiting
  metrics: SlaveMetrics
  log: Log
  /** `head`: bytes that were read behind the PROXY header. */
  onCaller(socket: Socket, caller: Caller, head: Buffer | undefined): void
}

export class Reception {
  readonly #options: ReceptionOptions

  constructor(options: ReceptionOptions) {
    this.#options = options
  }

  receive(socket: Socket): void {
    socket.on('error', () => socket.destroy())
    const address = plainAddress(socket.remoteAddress ?? '')
    if (address === '') return void socket.destroy() // it is gone already
    if (this.#options.proxies.has(address)) this.#readHeader(socket, address)
    else this.#admit(socket, address, undefined)
  }

  #admit(socket: Socket, address: string, head: Buffer | undefined): void {
    const { penalties, waiting, metrics } = this.#options
    const source = sourceOf(address)
    const reason = penalties.waitMs(source, address) > 0 ? 'penalty' : waiting.enter(source)
    if (reason !== undefined) {
      metrics.connectionsDropped.inc({ reason })
      socket.destroy()
      return
    }
    this.#options.onCaller(socket, { address, source }, head)
  }

  #readHeader(socket: Socket, proxy: string): void {
    const { metrics, log } = this.#options
    let data: Buffer = Buffer.alloc(0)
    const drop = (reason: string): void => {
      done()
      metrics.connectionsDropped.inc({ reason: 'proxy-header' })
      log.debug({ proxy, reason }, 'connection of a proxy dropped')
      socket.destroy()
    }
    const timer = setTimeout(() => drop('no PROXY header within 5 s'), PROXY_DEADLINE_MS)
    const onData = (chunk: Buffer): void => {
      data = data.length === 0 ? chunk : Buffer.concat([data, chunk])
      const header = readProxyHeader(data)
      if (header.outcome === 'more') return
      if (header.outcome === 'bad') return drop(header.reason)
      done()
      socket.pause()
      const head = data.subarray(header.length)
      this.#admit(
        socket,
        header.source ? plainAddress(header.source.address) : proxy,
        head.length > 0 ? head : undefined,
      )
    }
    const done = (): void => {
      clearTimeout(timer)
      socket.off('data', onData)
      socket.off('close', done)
      socket.off('end', onEnd)
    }
    const onEnd = (): void => drop('ended before its PROXY header')
    socket.on('data', onData)
    socket.on('close', done)
    socket.on('end', onEnd)
  }
}
