// One SSH channel (RFC 4254 §5): its two windows, its EOF and CLOSE in both directions. No stream layer: data goes from
// the packet to the `ChannelEnd` that stands behind the channel, and back. ssh2's Channel sends CLOSE as soon as its
// writable side ends (half-close loses data) and does not enforce its receive window; neither is used.
import type { Socket } from 'node:net'

import { message, WireReader } from '@sshoal/shared/ssh-wire'

import { Backlog } from './backlog.ts'
import { Message } from './message.ts'
import { joinChannel, joinSocket } from './pump.ts'
import { ReceiveWindow } from './receive-window.ts'
import type { SshChannel, VisitEnd } from './ssh-server.ts'
import type { Transport } from './transport.ts'

export const PACKET_BYTES = 32 * 1024
const WHY_REQUEST = 'why@sshoal'
const MOST_WHY_CHARACTERS = 1_000

const clock = (): number => performance.now()

/** Who closed a channel: its peer, we, or the end of the connection. */
export type ClosedBy = 'peer' | 'us' | 'connection'

/** What stands behind a channel. Called on the turn of the packet; none may throw. */
export interface ChannelEnd {
  /** The receiver owns the bytes until it calls `channel.consumed`. */
  onData(data: Buffer): void
  /** The peer sends no more (after all data). */
  onEof(): void
  /** There is room to send again. */
  onRoom(): void
  /** Nothing can be sent any more. Not called for a `close()` of the end itself. */
  onClosed(by: ClosedBy): void
  /** A channel request; true if it was answered or needs no answer. */
  onRequest?(type: string, wantReply: boolean, payload: Buffer, at: number): void
}

/** What a connection keeps of its channels. */
export interface ChannelOwner {
  readonly transport: Transport
  /** No more than one visit is open. */
  readonly hasOneVisit: boolean
  forget(channel: Channel): void
  waitForRoom(channel: Channel): void
}

export class Channel implements SshChannel {
  readonly id: number
  toldWhy: string | undefined
  readonly #remoteId: number
  readonly #maxPacket: number
  #owner: ChannelOwner
  #end: ChannelEnd | undefined
  #early: Backlog | undefined
  #sendWindow: number
  readonly #receiveWindow = new ReceiveWindow()
  #sentEof = false
  #sentClose = false
  #gotEof = false
  #gotClose = false

  constructor(owner: ChannelOwner, id: number, peer: { id: number; window: number; maxPacket: number }) {
    this.#owner = owner
    this.id = id
    this.#remoteId = peer.id
    this.#sendWindow = peer.window
    this.#maxPacket = Math.min(peer.maxPacket, PACKET_BYTES)
  }

  /** True when nothing can be sent any more. */
  get closed(): boolean {
    return this.#sentClose || this.#gotClose
  }

  get gotEof(): boolean {
    return this.#gotEof
  }

  get sentEof(): boolean {
    return this.#sentEof
  }

  pump(socket: Socket): Promise<VisitEnd> {
    return joinSocket(this, socket)
  }

  join(other: SshChannel): Promise<VisitEnd> {
    return joinChannel(this, other as Channel)
  }

  /** Puts `end` behind the channel and hands it what came before. */
  attach(end: ChannelEnd): void {
    this.#end = end
    const early = this.#early
    this.#early = undefined
    if (early !== undefined) for (const data of early.take()) end.onData(data)
    if (this.#gotEof) end.onEof()
    if (this.closed) end.onClosed(this.#gotClose ? 'peer' : 'us')
  }

  /** Sends what window and transport have room for; returns how much of `data` that was. */
  send(data: Buffer): number {
    if (this.closed || this.#sentEof) return data.length
    const { transport } = this.#owner
    let sent = 0
    while (sent < data.length && this.#sendWindow > 0) {
      if (!transport.hasRoom) {
        this.#owner.waitForRoom(this)
        break
      }
      const length = Math.min(data.length - sent, this.#sendWindow, this.#maxPacket)
      transport.sendData(
        this.#remoteId,
        sent === 0 && length === data.length ? data : data.subarray(sent, sent + length),
      )
      this.#sendWindow -= length
      sent += length
    }
    return sent
  }

  /** False when the transport has no room; `onRoom` follows. */
  get hasRoom(): boolean {
    if (this.#owner.transport.hasRoom) return true
    if (!this.#owner.transport.ended) this.#owner.waitForRoom(this)
    return false
  }

  sendEof(): void {
    if (this.#sentEof || this.closed) return
    this.#sentEof = true
    this.#owner.transport.send(message(Message.CHANNEL_EOF, this.#remoteId))
  }

  /** Sends CLOSE. The channel is forgotten when the peer has closed too. */
  close(): void {
    if (this.#sentClose) return
    this.#sentClose = true
    this.#owner.transport.send(message(Message.CHANNEL_CLOSE, this.#remoteId))
    if (this.#gotClose) this.#owner.forget(this)
  }

  destroy(): void {
    if (this.closed) return
    this.close()
    this.#end?.onClosed('us')
  }

  /** Bytes that left our memory: gives the peer its window back, half a window at a time. */
  consumed(length: number): void {
    if (this.#gotEof || this.closed) return
    const back = this.#receiveWindow.consumed(length, this.#owner.hasOneVisit, clock)
    if (back > 0) this.#owner.transport.send(message(Message.CHANNEL_WINDOW_ADJUST, this.#remoteId, back))
  }

  tellWhy(reason: string): void {
    if (!this.closed)
      this.#owner.transport.send(message(Message.CHANNEL_REQUEST, this.#remoteId, WHY_REQUEST, false, reason))
  }

  reply(success: boolean): void {
    const type = success ? Message.CHANNEL_SUCCESS : Message.CHANNEL_FAILURE
    if (!this.#sentClose) this.#owner.transport.send(message(type, this.#remoteId))
  }

  sendExitStatus(status: number): void {
    if (this.closed) return
    const { transport } = this.#owner
    transport.send(message(Message.CHANNEL_REQUEST, this.#remoteId, 'exit-status', false, status))
  }

  /** False: the peer sent more than its window, which ssh2 would take without end. */
  onData(data: Buffer): boolean {
    if (!this.#receiveWindow.take(data.length, this.#owner.transport.lastHeardAt)) return false
    if (this.#gotEof || this.closed || data.length === 0) return true
    if (this.#end !== undefined) this.#end.onData(data)
    else (this.#early ??= new Backlog()).add(data)
    return true
  }

  /** Extended data has no place to go; its bytes are dropped and given back. */
  onExtendedData(length: number): boolean {
    if (!this.#receiveWindow.take(length, this.#owner.transport.lastHeardAt)) return false
    this.consumed(length)
    return true
  }

  onEof(): void {
    if (this.#gotEof || this.#gotClose) return
    this.#gotEof = true
    this.#end?.onEof()
  }

  onClose(): void {
    if (this.#gotClose) return
    const first = !this.#sentClose
    this.#gotClose = true
    if (first) {
      this.#sentClose = true
      this.#owner.transport.send(message(Message.CHANNEL_CLOSE, this.#remoteId))
    }
    this.#owner.forget(this)
    if (first) this.#end?.onClosed('peer')
  }

  /** False: the window would pass 2^32 - 1, which RFC 4254 §5.2 forbids. */
  onWindowAdjust(bytes: number): boolean {
    this.#sendWindow += bytes
    if (this.#sendWindow > 0xff_ff_ff_ff) return false
    if (!this.closed) this.#end?.onRoom()
    return true
  }

  onRoom(): void {
    if (!this.closed) this.#end?.onRoom()
  }

  onRequest(type: string, wantReply: boolean, payload: Buffer, at: number): void {
    if (type === WHY_REQUEST) {
      this.toldWhy = new WireReader(payload, at).text().slice(0, MOST_WHY_CHARACTERS)
      if (wantReply) this.reply(true)
      return
    }
    if (this.#end?.onRequest !== undefined) this.#end.onRequest(type, wantReply, payload, at)
    else if (wantReply) this.reply(false)
  }

  /** The connection is gone. */
  onConnectionEnd(): void {
    if (this.#gotClose) return
    const told = this.#sentClose
    this.#sentClose = true
    this.#gotClose = true
    if (!told) this.#end?.onClosed('connection')
  }
}
