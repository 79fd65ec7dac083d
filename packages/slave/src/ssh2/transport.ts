// One SSH transport (RFC 4253) on one socket: packets in, packets out, key exchanges, and the bounds on what is unsent.
// Drives ssh2's Protocol but takes every message after the key exchange away from it: what ssh2 makes of them (unread
// signatures, unlimited tries, an unenforced window) is where most of the facts of ssh2-notes come from.
// Knows nothing of logins, channels or forwards.
import type { Socket } from 'node:net'

import { WireError, message } from '@sshoal/shared/ssh-wire'

import type { FairTurns } from './fair-turns.ts'
import { KeyExchanges } from './key-exchanges.ts'
import { library } from './library.ts'
import type { LibraryHostKey, Offer, Protocol } from './library.ts'
import { DisconnectReason, Message } from './message.ts'
import type { Proposal } from './negotiation.ts'
import { Outbox } from './outbox.ts'
import { BULK_BYTES, isShared, readShared } from './patches/shared-reads.ts'
import type { SshEndError } from './ssh-server.ts'

/** Unsent bytes; the later limit is the server's setting. */
const MAX_UNSENT_BEFORE_LOGIN = 256 * 1024
/** What a client needs for a login with all its tries is a tenth of this; a flood of messages to be ignored is not. */
const MAX_RECEIVED_BEFORE_LOGIN = 512 * 1024
/** How long the peer has to read our DISCONNECT and to close. */
const LINGER_MS = 1000

/** Our identification string (RFC 4253 §4.2), one for all connections. */
export interface Ident {
  /** As each key exchange hashes it. */
  readonly text: Buffer
  /** As it is sent. */
  readonly line: Buffer
}

export function identOf(software: string): Ident {
  const line = Buffer.from(`SSH-2.0-${software}\r\n`)
  return { line, text: line.subarray(0, -2) }
}

/** What every connection of a server, or each of a client, is made with. */
export interface TransportSettings {
  hostKeys: Record<string, LibraryHostKey>
  offer: Offer
  /** The offer as a client would have to meet it. */
  proposal: Proposal
  ident: Ident
  /** In which what a client sends before its login is worked off. */
  turns?: FairTurns
  maxUnsentBytes: number
  rekeyBytes?: number
  /** Makes it the client's end: does it talk to this host key (wire form)? `hostKeys` are of no use then. */
  believes?(hostKey: Buffer): boolean
}

export interface TransportOwner {
  onIdent(software: string): void
  /** The first key exchange is over. */
  onKeys(): void
  /** A message that does not belong to the transport. Throwing `WireError` ends the connection. */
  onMessage(type: number, payload: Buffer): void
  /** What could not be sent for lack of room, or during a key exchange, can be sent now. */
  onRoom(): void
  /** The transport is over. The socket may still linger to let the peer read why. */
  onEnd(error: SshEndError | undefined): void
  /** The socket is gone. */
  onGone(): void
}

export class Transport {
  readonly socket: Socket
  lastHeardAt = performance.now()
  loggedIn = false
  #settings: TransportSettings
  #owner: TransportOwner
  #protocol: Protocol
  #ended = false
  #outbox: Outbox
  #receivedBeforeLogin = 0
  /** Read before the login, and not worked off yet. */
  #unread: Buffer[] = []
  #identified = false
  #sharing = false
  #exchanges: KeyExchanges
  /** Of messages that wait for the end of a key exchange. */
  #queuedBytes = 0

  constructor(socket: Socket, settings: TransportSettings, owner: TransportOwner) {
    this.socket = socket
    this.#settings = settings
    this.#owner = owner
    // An 'error' without a listener ends the process, so this comes first.
    socket.on('error', (cause) => this.#over({ code: 'SOCKET_ERROR', message: cause.message }))
    socket.on('close', () => {
      this.#over(undefined)
      this.#owner.onGone()
    })
    // Nagle's algorithm costs OpenSSH 40 ms per login and each new visit a round trip.
    socket.setNoDelay(true)
    this.#outbox = new Outbox(socket, {
      mostUnsent: () => (this.loggedIn ? settings.maxUnsentBytes : MAX_UNSENT_BEFORE_LOGIN),
      onTooMuch: () => this.#tooMuchUnsent(),
    })
    const { believes } = settings
    this.#protocol = new library.Protocol({
      ...(believes
        ? { server: false, hostVerifier: (hostKey: Buffer) => believes(hostKey) }
        : { server: true, hostKeys: settings.hostKeys }),
      offer: settings.offer,
      onWrite: (data) => {
        this.#exchanges.count(data.length)
        this.#outbox.write(data)
      },
      onError: (error) => this.#over({ code: 'PROTOCOL_ERROR', message: error.message }),
      onHeader: (header) => this.#onIdent(header.versions.software),
      onHandshakeComplete: () => {
        this.#queuedBytes = 0
        this.#exchanges.onKeys()
        if (this.loggedIn) process.nextTick(() => this.#onDrain())
        else this.#owner.onKeys()
      },
      messageHandlers: { DISCONNECT: () => this.#over(undefined) },
    })
    this.#protocol._onPayload = (payload) => this.#onPayload(payload)
    this.#protocol._identRaw = settings.ident.text
    // It would send ssh2's identification string; ours goes out in `start`.
    this.#protocol.start = undefined
    this.#exchanges = new KeyExchanges(this.#protocol, settings, this)
    socket.on('drain', () => this.#onDrain())
    // FIN-WAIT trap: a peer's FIN ends a connection at once and for good, whatever it has not read yet.
    socket.on('end', () => {
      this.#over(undefined)
      socket.destroy()
    })
  }

  /** Sends the identification string and takes the bytes that were read already, then those to come. */
  async start(head?: Buffer): Promise<void> {
    this.socket.pause()
    await library.ready
    if (this.#ended) return
    this.#protocol._onWrite(this.#settings.ident.line)
    if (head !== undefined && head.length > 0) this.#onData(head)
    this.socket.on('data', (chunk: Buffer) => this.#onData(chunk))
    this.socket.resume()
  }

  /** The exchange hash of the first key exchange (RFC 4253 §7.2). */
  get sessionId(): Buffer {
    return this.#protocol._kex?.sessionID ?? Buffer.alloc(0)
  }

  get ended(): boolean {
    return this.#ended
  }

  /** False while data has to wait: the peer does not read, or keys are being exchanged. */
  get hasRoom(): boolean {
    return !this.#ended && this.#protocol._kexinit === undefined && !this.#outbox.congested
  }

  /** Sends a message; during a key exchange it waits for its end. Nothing happens on a transport that is over. */
  send(payload: Buffer): void {
    if (this.#ended) return
    const protocol = this.#protocol
    if (protocol._kexinit !== undefined) {
      protocol._queue ??= []
      protocol._queue.push(payload)
      this.#queuedBytes += payload.length
      if (this.#queuedBytes > this.#settings.maxUnsentBytes) this.#tooMuchUnsent()
      return
    }
    const writer = protocol._packetRW.write
    const packet = writer.alloc(payload.length)
    packet.set(payload, writer.allocStart)
    protocol._cipher.encrypt(writer.finalize(packet))
  }

  /** CHANNEL_DATA, the message that counts: built in place. Only while `hasRoom`. */
  sendData(channel: number, data: Buffer): void {
    const protocol = this.#protocol
    const writer = protocol._packetRW.write
    const packet = writer.alloc(9 + data.length)
    const at = writer.allocStart
    packet[at] = Message.CHANNEL_DATA
    packet.writeUInt32BE(channel, at + 1)
    packet.writeUInt32BE(data.length, at + 5)
    packet.set(data, at + 9)
    protocol._cipher.encrypt(writer.finalize(packet))
  }

  /** DISCONNECT with a text, which ssh2 cannot send; the socket is destroyed at the latest a second later. */
  disconnect(text: string, reason: number = DisconnectReason.BY_APPLICATION, error?: SshEndError): void {
    if (this.#ended) return
    const payload = message(Message.DISCONNECT, reason, text, '')
    const { _packetRW: packets, _cipher: cipher } = this.#protocol
    const packet = packets.write.alloc(payload.length, true)
    packet.set(payload, packets.write.allocStartKEX)
    cipher.encrypt(packets.write.finalize(packet, true))
    this.#over(error)
  }

  /** The peer broke the protocol: tells it so and ends. */
  fail(text: string, code: SshEndError['code'] = 'PROTOCOL_ERROR'): void {
    this.disconnect(text, DisconnectReason.PROTOCOL_ERROR, { code, message: text })
  }

  destroy(error?: SshEndError): void {
    this.#over(error)
    this.socket.destroy()
  }

  #onData(chunk: Buffer): void {
    this.lastHeardAt = performance.now()
    if (this.#ended) return
    if (chunk.length >= BULK_BYTES && this.loggedIn && !this.#sharing) {
      // Before that, ssh2 keeps views of what it read: both sides' first messages are part of the exchange hash.
      this.#sharing = true
      readShared(this.socket, (shared) => this.#onData(this.#inPlace ? shared : Buffer.from(shared)))
    }
    if (this.loggedIn && this.#unread.length === 0) this.#read(chunk)
    else this.#readInTurn(chunk)
  }

  #readInTurn(chunk: Buffer): void {
    const { turns } = this.#settings
    this.#receivedBeforeLogin += chunk.length
    const allowed =
      this.#receivedBeforeLogin <= MAX_RECEIVED_BEFORE_LOGIN &&
      (turns === undefined || turns.add(this.socket, chunk.length, () => this.#readNext()))
    if (!allowed) {
      this.destroy({ code: 'BUFFER_LIMIT', message: 'too much data before the login' })
      return
    }
    if (turns === undefined) return this.#read(chunk)
    this.#unread.push(chunk)
    this.socket.pause()
  }

  #readNext(): void {
    const next = this.#unread.shift()
    if (next === undefined || this.#ended) return
    this.#read(next)
    if (this.#unread.length === 0 && !this.#ended) this.socket.resume()
  }

  #read(chunk: Buffer): void {
    this.#exchanges.count(chunk.length)
    try {
      this.#protocol.parse(chunk, 0, chunk.length)
      if (this.#sharing) this.#keepPartOfPacket()
    } catch (error) {
      // ssh2 throws for a bad length or MAC, and on bytes it never expected; none of it may reach the process.
      const text = error instanceof Error ? error.message : String(error)
      if (this.#identified) this.fail(text)
      else {
        this.#outbox.write(Buffer.from('Invalid SSH identification string.\r\n'))
        this.#over({ code: 'PROTOCOL_ERROR', message: text })
      }
    }
    if (this.loggedIn && !this.#ended) this.#exchanges.renewIfDue(this.lastHeardAt)
  }

  /** A packet whose tag is still to come: ssh2 would keep a view of what the next read overwrites. */
  #keepPartOfPacket(): void {
    const decipher = this.#protocol._decipher
    if (decipher._packet && isShared(decipher._packet)) decipher._packet = Buffer.from(decipher._packet)
  }

  /** These decrypt a packet where it lies and keep nothing of it but `_packet`. */
  get #inPlace(): boolean {
    const { name } = this.#protocol._decipher.constructor
    return name === 'AESGCMDecipherBinding' || name === 'ChaChaPolyDecipherBinding'
  }

  #onIdent(software: string): void {
    this.#identified = true
    const decipher = this.#protocol._decipher
    const first = decipher._onPayload
    decipher._onPayload = (payload) =>
      payload[0] === Message.KEXINIT
        ? this.#exchanges.onInit(payload, first)
        : this.stopIfEnded(first(payload))
    this.#owner.onIdent(software)
  }

  /** The value tells ssh2's parser to drop the rest of a chunk. */
  stopIfEnded(result: unknown): unknown {
    return this.#ended ? Infinity : result
  }

  #onPayload(payload: Buffer): unknown {
    const type = payload[0]
    if (type === undefined) return undefined
    try {
      switch (type) {
        case Message.IGNORE:
        case Message.UNIMPLEMENTED:
        case Message.DEBUG:
        case Message.EXT_INFO:
          return undefined
        case Message.DISCONNECT:
          this.#over(undefined)
          break
        case Message.KEXINIT:
          // Kept until the end of the exchange.
          return this.#exchanges.onInit(Buffer.from(payload), (init) =>
            library.handleKexInit(this.#protocol, init),
          )
        default:
          this.#owner.onMessage(type, payload)
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      this.fail(`malformed message ${type}: ${error.message}`)
    }
    return this.stopIfEnded(undefined)
  }

  /** RFC 4253 §11.4. */
  unimplemented(): void {
    this.send(message(Message.UNIMPLEMENTED, this.#protocol._decipher.inSeqno - 1))
  }

  #tooMuchUnsent(): void {
    if (!this.#ended)
      this.destroy({ code: 'BUFFER_LIMIT', message: 'the peer does not read what it is sent' })
  }

  #onDrain(): void {
    if (this.#ended) return
    if (this.socket.isPaused()) this.socket.resume()
    if (this.hasRoom) this.#owner.onRoom()
  }

  #over(error: SshEndError | undefined): void {
    if (this.#ended) return
    this.#ended = true
    const { socket } = this
    this.#protocol.cleanup()
    this.#outbox.flush()
    this.#owner.onEnd(error)
    if (socket.destroyed) return
    // Half-closed, a black-holed peer would hold the socket in FIN-WAIT for ever, so the end is ours.
    socket.end()
    // What still comes is thrown away, and must not cost 64 KiB a read until the garbage collector looks.
    readShared(socket, () => {})
    socket.resume()
    const timer = setTimeout(() => socket.destroy(), LINGER_MS)
    socket.once('close', () => clearTimeout(timer))
  }
}
