// One authenticated (or not yet) client: its login, its global requests, its channels. Dispatches the messages of RFC 4252
// and RFC 4254 that the transport hands over. Knows nothing of devices, tunnels or ports.
import type { Socket } from 'node:net'

import { ChannelOpenError } from './channel-open-error.ts'
import { Channel, PACKET_BYTES, WINDOW_BYTES } from './channel.ts'
import type { ChannelOwner } from './channel.ts'
import { GlobalRequests } from './global-requests.ts'
import { Login } from './login.ts'
import { Message, OpenFailure } from './message.ts'
import { Session } from './session.ts'
import type {
  DirectRequest,
  DirectVerdict,
  ForwardRequest,
  KeyOffer,
  SshChannel,
  SshConnection,
  SshConnectionHandlers,
  SshEndError,
} from './ssh-server.ts'
import { Transport } from './transport.ts'
import type { TransportOwner, TransportSettings } from './transport.ts'
import { WireReader, message } from './wire.ts'

/** Sessions, and channels in the opening, that one client may have; visits are limited by the layer above. */
const MAX_SESSIONS = 10
const MAX_OPENING = 1024
/** A packet size below this would cost a packet for every few bytes. */
const MIN_PACKET_BYTES = 64

const KEEPALIVE = message(Message.GLOBAL_REQUEST, 'keepalive@openssh.com', true)

interface PeerChannel {
  id: number
  window: number
  maxPacket: number
}

interface Opening {
  resolve(channel: Channel): void
  reject(error: ChannelOpenError): void
}

export class Connection implements SshConnection, TransportOwner, ChannelOwner {
  readonly transport: Transport
  #handlers: SshConnectionHandlers
  #login: Login | undefined
  #requests: GlobalRequests | undefined
  #channels: Map<number, Channel> | undefined
  #opening: Map<number, Opening> | undefined
  #waitingForRoom: Set<Channel> | undefined
  #nextChannel = 0
  #sessions: Set<Channel> | undefined
  #deciding = 0
  #error: SshEndError | undefined
  #gone = false

  constructor(
    socket: Socket,
    handlers: SshConnectionHandlers,
    settings: TransportSettings,
    maxAuthTries: number,
    head?: Buffer,
  ) {
    this.#handlers = handlers
    this.transport = new Transport(socket, settings, this)
    this.#login = new Login(this.transport, handlers, maxAuthTries, (offer) => this.#onLogin(offer))
    void this.transport.start(head)
  }

  get socket(): Socket {
    return this.transport.socket
  }

  get lastHeardAt(): number {
    return this.transport.lastHeardAt
  }

  openForwarded(forward: ForwardRequest, origin: { address: string; port: number }): Promise<SshChannel> {
    return new Promise((resolve, reject) => {
      if (this.transport.ended) {
        reject(new ChannelOpenError(OpenFailure.CONNECT_FAILED, 'the connection is closed'))
        return
      }
      const id = this.#newId()
      this.#opening ??= new Map()
      this.#opening.set(id, { resolve, reject })
      // OpenSSH compares the address with the one it asked for, letter by letter.
      this.transport.send(
        message(
          Message.CHANNEL_OPEN,
          'forwarded-tcpip',
          id,
          WINDOW_BYTES,
          PACKET_BYTES,
          forward.bindAddress,
          forward.bindPort,
          origin.address,
          origin.port,
        ),
      )
    })
  }

  ping(): void {
    this.transport.send(KEEPALIVE)
  }

  disconnect(text: string): void {
    this.transport.disconnect(text)
  }

  destroy(): void {
    this.transport.destroy({ code: 'DESTROYED', message: 'destroyed by the server' })
    process.nextTick(() => this.onGone())
  }

  onIdent(software: string): void {
    this.#handlers.onIdent?.(software)
  }

  onMessage(type: number, payload: Buffer): void {
    if (this.#login !== undefined) {
      this.#login.onMessage(type, payload)
      return
    }
    switch (type) {
      case Message.CHANNEL_DATA: {
        const fields = new WireReader(payload, 1)
        const channel = this.#channel(fields.uint32())
        if (channel !== undefined && !channel.onData(fields.string())) this.#windowAbuse()
        break
      }
      case Message.CHANNEL_WINDOW_ADJUST: {
        const fields = new WireReader(payload, 1)
        const channel = this.#channel(fields.uint32())
        if (channel !== undefined && !channel.onWindowAdjust(fields.uint32())) {
          this.transport.fail('a channel window passes 2^32 - 1')
        }
        break
      }
      case Message.CHANNEL_EXTENDED_DATA: {
        const fields = new WireReader(payload, 1)
        const channel = this.#channel(fields.uint32())
        fields.uint32()
        if (channel !== undefined && !channel.onExtendedData(fields.string().length)) this.#windowAbuse()
        break
      }
      case Message.CHANNEL_EOF:
        this.#channel(new WireReader(payload, 1).uint32())?.onEof()
        break
      case Message.CHANNEL_CLOSE:
        this.#channel(new WireReader(payload, 1).uint32())?.onClose()
        break
      case Message.CHANNEL_REQUEST: {
        const fields = new WireReader(payload, 1)
        const channel = this.#channel(fields.uint32())
        const name = fields.text()
        const wantReply = fields.boolean()
        channel?.onRequest(name, wantReply, payload, fields.position)
        break
      }
      case Message.CHANNEL_OPEN_CONFIRMATION:
      case Message.CHANNEL_OPEN_FAILURE:
        this.#onOpened(type, new WireReader(payload, 1))
        break
      case Message.CHANNEL_OPEN:
        this.#onOpen(new WireReader(payload, 1))
        break
      case Message.GLOBAL_REQUEST:
        this.#requests ??= new GlobalRequests(this.transport, this.#handlers)
        this.#requests.onMessage(payload)
        break
      case Message.CHANNEL_SUCCESS:
      case Message.CHANNEL_FAILURE:
      case Message.REQUEST_SUCCESS:
      case Message.REQUEST_FAILURE:
        // Answers to a ping; that they came is all they say.
        break
      case Message.USERAUTH_REQUEST:
        // To be ignored silently after a login (RFC 4252 §5.3).
        break
      default:
        this.transport.unimplemented()
    }
  }

  onRoom(): void {
    const waiting = this.#waitingForRoom
    if (waiting === undefined) return
    this.#waitingForRoom = undefined
    for (const channel of waiting) channel.onRoom()
  }

  onEnd(error: SshEndError | undefined): void {
    this.#error = error
    this.#login = undefined
    const opening = this.#opening
    const channels = this.#channels
    this.#opening = undefined
    this.#channels = undefined
    this.#waitingForRoom = undefined
    for (const waiting of opening?.values() ?? []) {
      waiting.reject(new ChannelOpenError(OpenFailure.CONNECT_FAILED, 'the connection is closed'))
    }
    for (const channel of channels?.values() ?? []) channel.onConnectionEnd()
  }

  onGone(): void {
    if (this.#gone) return
    this.#gone = true
    this.#handlers.onClose(this.#error)
  }

  forget(channel: Channel): void {
    this.#channels?.delete(channel.id)
    this.#waitingForRoom?.delete(channel)
    this.#sessions?.delete(channel)
  }

  waitForRoom(channel: Channel): void {
    this.#waitingForRoom ??= new Set()
    this.#waitingForRoom.add(channel)
  }

  #onLogin(offer: KeyOffer): void {
    this.#login = undefined
    this.transport.loggedIn = true
    this.#handlers.onReady(offer)
  }

  /** Messages for a channel that is gone are ignored: they crossed with our CLOSE or were made up. */
  #channel(id: number): Channel | undefined {
    return this.#channels?.get(id)
  }

  #newId(): number {
    const id = this.#nextChannel
    this.#nextChannel = (id + 1) % 0x7f_ff_ff_ff
    return id
  }

  #addChannel(id: number, peer: PeerChannel): Channel {
    const channel = new Channel(this, id, peer)
    this.#channels ??= new Map()
    this.#channels.set(id, channel)
    return channel
  }

  #onOpened(type: number, fields: WireReader): void {
    const id = fields.uint32()
    const opening = this.#opening?.get(id)
    if (opening === undefined) {
      this.transport.fail('an answer to a channel that was not asked for')
      return
    }
    this.#opening?.delete(id)
    if (type === Message.CHANNEL_OPEN_FAILURE) {
      const reason = fields.uint32()
      opening.reject(new ChannelOpenError(reason, fields.left > 0 ? fields.text() : ''))
      return
    }
    const peer = { id: fields.uint32(), window: fields.uint32(), maxPacket: fields.uint32() }
    const channel = this.#addChannel(id, peer)
    if (peer.maxPacket >= MIN_PACKET_BYTES) {
      opening.resolve(channel)
    } else {
      channel.close()
      opening.reject(new ChannelOpenError(OpenFailure.RESOURCE_SHORTAGE, 'the packet size is too small'))
    }
  }

  #onOpen(fields: WireReader): void {
    const type = fields.text()
    const peer: PeerChannel = { id: fields.uint32(), window: fields.uint32(), maxPacket: fields.uint32() }
    if (peer.maxPacket < MIN_PACKET_BYTES) {
      this.#refuse(peer, OpenFailure.RESOURCE_SHORTAGE, 'the packet size is too small')
    } else if (type === 'session') {
      this.#onSession(peer)
    } else if (type === 'direct-tcpip') {
      const request = {
        address: fields.text(),
        port: fields.uint32(),
        originAddress: fields.text(),
        originPort: fields.uint32(),
      }
      if (this.#deciding >= MAX_OPENING) {
        this.#refuse(peer, OpenFailure.RESOURCE_SHORTAGE, 'too many channels at once')
        return
      }
      this.#deciding += 1
      void this.#decideDirect(peer, request)
    } else {
      this.#refuse(peer, OpenFailure.UNKNOWN_CHANNEL_TYPE, `no channels of type ${type} here`)
    }
  }

  #onSession(peer: PeerChannel): void {
    this.#sessions ??= new Set()
    if (this.#sessions.size >= MAX_SESSIONS) {
      this.#refuse(peer, OpenFailure.RESOURCE_SHORTAGE, 'too many sessions')
      return
    }
    const channel = this.#confirm(peer)
    this.#sessions.add(channel)
    void new Session(channel, this.#handlers)
    this.#handlers.onSession?.()
  }

  async #decideDirect(peer: PeerChannel, request: DirectRequest): Promise<void> {
    this.#deciding += 1
    let verdict: DirectVerdict
    try {
      verdict = await this.#handlers.onDirect(request)
    } catch {
      verdict = { outcome: 'refuse', text: 'refused' }
    }
    this.#deciding -= 1
    if (this.transport.ended) return
    if (verdict.outcome === 'refuse') {
      this.#refuse(peer, OpenFailure.ADMINISTRATIVELY_PROHIBITED, verdict.text)
    } else {
      verdict.opened(this.#confirm(peer))
    }
  }

  #confirm(peer: PeerChannel): Channel {
    const channel = this.#addChannel(this.#newId(), peer)
    this.transport.send(
      message(Message.CHANNEL_OPEN_CONFIRMATION, peer.id, channel.id, WINDOW_BYTES, PACKET_BYTES),
    )
    return channel
  }

  #refuse(peer: PeerChannel, reason: number, text: string): void {
    this.transport.send(message(Message.CHANNEL_OPEN_FAILURE, peer.id, reason, text, ''))
  }

  #windowAbuse(): void {
    this.transport.fail('more data than the channel window allows', 'WINDOW_ABUSE')
  }
}
