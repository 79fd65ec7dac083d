import { WireReader, message } from '@sshoal/shared/ssh-wire'

// The channels of one connection (RFC 4254 §5): their numbers, how they are opened from either side, refused, and told of
// their messages. What a channel does with its data is channel.ts; who may open one is the handlers' to say.
import { ChannelOpenError } from './channel-open-error.ts'
import { Channel, PACKET_BYTES } from './channel.ts'
import type { ChannelOwner } from './channel.ts'
import { Message, OpenFailure } from './message.ts'
import { FIRST_WINDOW_BYTES } from './receive-window.ts'
import { Session } from './session.ts'
import type { DirectVerdict, SshConnectionHandlers } from './ssh-server.ts'
import type { Transport } from './transport.ts'

/** Sessions, and channels in the opening, that one client may have; visits are limited by the layer above. */
const MAX_SESSIONS = 10
const MAX_OPENING = 1024
/** A packet size below this would cost a packet for every few bytes. */
const MIN_PACKET_BYTES = 64

/** How slaves hand visits over to each other; its payload is one string. Nobody else speaks it. */
export const VISIT_CHANNEL = 'visit@sshoal'

interface PeerChannel {
  id: number
  window: number
  maxPacket: number
}

interface Opening {
  resolve(channel: Channel): void
  reject(error: ChannelOpenError): void
}

export class Channels implements ChannelOwner {
  readonly transport: Transport
  readonly #handlers: SshConnectionHandlers
  #open = new Map<number, Channel>()
  #opening = new Map<number, Opening>()
  #waitingForRoom = new Set<Channel>()
  #sessions = new Set<Channel>()
  #next = 0
  /** Opens of the client that a handler is deciding on. */
  #deciding = 0

  constructor(transport: Transport, handlers: SshConnectionHandlers) {
    this.transport = transport
    this.#handlers = handlers
  }

  get hasOneVisit(): boolean {
    return this.#open.size - this.#sessions.size <= 1
  }

  /** Rejects with `ChannelOpenError`. */
  open(type: string, ...payload: (string | number | Buffer)[]): Promise<Channel> {
    return new Promise((resolve, reject) => {
      if (this.transport.ended) {
        reject(new ChannelOpenError(OpenFailure.CONNECT_FAILED, 'the connection is closed'))
        return
      }
      const id = this.#newId()
      this.#opening.set(id, { resolve, reject })
      this.transport.send(
        message(Message.CHANNEL_OPEN, type, id, FIRST_WINDOW_BYTES, PACKET_BYTES, ...payload),
      )
    })
  }

  /** False: not a message of a channel. Those for a channel that is gone are ignored: they crossed with our CLOSE or were made up. */
  onMessage(type: number, payload: Buffer): boolean {
    const fields = new WireReader(payload, 1)
    switch (type) {
      case Message.CHANNEL_DATA: {
        const channel = this.#open.get(fields.uint32())
        if (channel !== undefined && !channel.onData(fields.string())) this.#windowAbuse()
        return true
      }
      case Message.CHANNEL_WINDOW_ADJUST: {
        const channel = this.#open.get(fields.uint32())
        if (channel !== undefined && !channel.onWindowAdjust(fields.uint32())) {
          this.transport.fail('a channel window passes 2^32 - 1')
        }
        return true
      }
      case Message.CHANNEL_EXTENDED_DATA: {
        const channel = this.#open.get(fields.uint32())
        fields.uint32()
        if (channel !== undefined && !channel.onExtendedData(fields.string().length)) this.#windowAbuse()
        return true
      }
      case Message.CHANNEL_EOF:
        this.#open.get(fields.uint32())?.onEof()
        return true
      case Message.CHANNEL_CLOSE:
        this.#open.get(fields.uint32())?.onClose()
        return true
      case Message.CHANNEL_REQUEST: {
        const channel = this.#open.get(fields.uint32())
        const name = fields.text()
        const wantReply = fields.boolean()
        channel?.onRequest(name, wantReply, payload, fields.position)
        return true
      }
      case Message.CHANNEL_OPEN_CONFIRMATION:
      case Message.CHANNEL_OPEN_FAILURE:
        this.#onOpened(type, fields)
        return true
      case Message.CHANNEL_OPEN:
        this.#onOpen(fields)
        return true
      case Message.CHANNEL_SUCCESS:
      case Message.CHANNEL_FAILURE:
        // Answers to a request that wanted none.
        return true
      default:
        return false
    }
  }

  onRoom(): void {
    const waiting = this.#waitingForRoom
    if (waiting.size === 0) return
    this.#waitingForRoom = new Set()
    const late: Channel[] = []
    for (const channel of waiting) {
      if (this.transport.hasRoom) channel.onRoom()
      else late.push(channel)
    }
    // Who got nothing this time is first next time: a channel that always has more must not starve the others.
    if (late.length > 0) this.#waitingForRoom = new Set([...late, ...this.#waitingForRoom])
  }

  /** The connection is gone, and with it every channel. */
  onEnd(): void {
    const opening = this.#opening
    const open = this.#open
    this.#opening = new Map()
    this.#open = new Map()
    this.#waitingForRoom.clear()
    for (const waiting of opening.values()) {
      waiting.reject(new ChannelOpenError(OpenFailure.CONNECT_FAILED, 'the connection is closed'))
    }
    for (const channel of open.values()) channel.onConnectionEnd()
  }

  forget(channel: Channel): void {
    this.#open.delete(channel.id)
    this.#waitingForRoom.delete(channel)
    this.#sessions.delete(channel)
  }

  waitForRoom(channel: Channel): void {
    this.#waitingForRoom.add(channel)
  }

  #newId(): number {
    const id = this.#next
    this.#next = (id + 1) % 0x7f_ff_ff_ff
    return id
  }

  #add(id: number, peer: PeerChannel): Channel {
    const channel = new Channel(this, id, peer)
    this.#open.set(id, channel)
    return channel
  }

  #onOpened(type: number, fields: WireReader): void {
    const id = fields.uint32()
    const opening = this.#opening.get(id)
    if (opening === undefined) {
      this.transport.fail('an answer to a channel that was not asked for')
      return
    }
    this.#opening.delete(id)
    if (type === Message.CHANNEL_OPEN_FAILURE) {
      const reason = fields.uint32()
      opening.reject(new ChannelOpenError(reason, fields.left > 0 ? fields.text() : ''))
      return
    }
    const peer = readPeer(fields)
    const channel = this.#add(id, peer)
    if (peer.maxPacket >= MIN_PACKET_BYTES) {
      opening.resolve(channel)
    } else {
      channel.close()
      opening.reject(new ChannelOpenError(OpenFailure.RESOURCE_SHORTAGE, 'the packet size is too small'))
    }
  }

  #onOpen(fields: WireReader): void {
    const type = fields.text()
    const peer = readPeer(fields)
    if (peer.maxPacket < MIN_PACKET_BYTES) {
      this.#refuse(peer, OpenFailure.RESOURCE_SHORTAGE, 'the packet size is too small')
    } else if (type === 'session' && this.#handlers.onShell) {
      this.#onSession(peer)
    } else if (type === 'direct-tcpip') {
      const request = {
        address: fields.text(),
        port: fields.uint32(),
        originAddress: fields.text(),
        originPort: fields.uint32(),
      }
      void this.#decide(peer, () => this.#handlers.onDirect(request))
    } else if (type === VISIT_CHANNEL && this.#handlers.onVisit) {
      const payload = Buffer.from(fields.string())
      void this.#decide(peer, () => this.#handlers.onVisit?.(payload) ?? REFUSED)
    } else {
      this.#refuse(peer, OpenFailure.UNKNOWN_CHANNEL_TYPE, `no channels of type ${type} here`)
    }
  }

  #onSession(peer: PeerChannel): void {
    if (this.#sessions.size >= MAX_SESSIONS) {
      this.#refuse(peer, OpenFailure.RESOURCE_SHORTAGE, 'too many sessions')
      return
    }
    const channel = this.#confirm(peer)
    this.#sessions.add(channel)
    void new Session(channel, this.#handlers)
    this.#handlers.onSession?.()
  }

  async #decide(peer: PeerChannel, ask: () => DirectVerdict | Promise<DirectVerdict>): Promise<void> {
    if (this.#deciding >= MAX_OPENING) {
      this.#refuse(peer, OpenFailure.RESOURCE_SHORTAGE, 'too many channels at once')
      return
    }
    this.#deciding += 1
    let verdict: DirectVerdict
    try {
      verdict = await ask()
    } catch {
      verdict = REFUSED
    }
    this.#deciding -= 1
    if (this.transport.ended) {
      if (verdict.outcome === 'accept') verdict.abandoned()
    } else if (verdict.outcome === 'refuse') {
      this.#refuse(peer, verdict.code ?? OpenFailure.ADMINISTRATIVELY_PROHIBITED, verdict.text)
    } else {
      verdict.opened(this.#confirm(peer))
    }
  }

  #confirm(peer: PeerChannel): Channel {
    const channel = this.#add(this.#newId(), peer)
    this.transport.send(
      message(Message.CHANNEL_OPEN_CONFIRMATION, peer.id, channel.id, FIRST_WINDOW_BYTES, PACKET_BYTES),
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

const REFUSED: DirectVerdict = { outcome: 'refuse', text: 'refused' }

function readPeer(fields: WireReader): PeerChannel {
  return { id: fields.uint32(), window: fields.uint32(), maxPacket: fields.uint32() }
}
