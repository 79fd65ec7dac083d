// One connection, logged in or not yet: its transport, its login, and then its global requests and its channels. Dispatches
// the messages of RFC 4252 and RFC 4254 that the transport hands over. Either end of it: only the login differs.
// Knows nothing of devices, tunnels or ports.
import type { Socket } from 'node:net'

import { message } from '@sshoal/shared/ssh-wire'

import { Channels, VISIT_CHANNEL } from './channels.ts'
import { GlobalRequests } from './global-requests.ts'
import { Message } from './message.ts'
import type {
  ForwardRequest,
  KeyOffer,
  SshChannel,
  SshConnection,
  SshConnectionHandlers,
  SshEndError,
} from './ssh-server.ts'
import { Transport } from './transport.ts'
import type { TransportOwner, TransportSettings } from './transport.ts'

/** One end's part in the login, until it has succeeded. */
export interface LoginPart {
  onMessage(type: number, payload: Buffer): void
  /** The first key exchange is over. */
  onKeys?(): void
}

const KEEPALIVE = message(Message.GLOBAL_REQUEST, 'keepalive@openssh.com', true)

export class Connection implements SshConnection, TransportOwner {
  readonly transport: Transport
  #handlers: SshConnectionHandlers
  #login: LoginPart | undefined
  #requests: GlobalRequests | undefined
  /** Made at the first channel: most tunnels are idle. */
  #channels: Channels | undefined
  #error: SshEndError | undefined
  #gone = false

  constructor(
    socket: Socket,
    handlers: SshConnectionHandlers,
    settings: TransportSettings,
    login: (transport: Transport, onSuccess: (offer: KeyOffer) => void) => LoginPart,
    head?: Buffer,
  ) {
    this.#handlers = handlers
    this.transport = new Transport(socket, settings, this)
    this.#login = login(this.transport, (offer) => this.#onLogin(offer))
    void this.transport.start(head)
  }

  get socket(): Socket {
    return this.transport.socket
  }

  get lastHeardAt(): number {
    return this.transport.lastHeardAt
  }

  openForwarded(forward: ForwardRequest, origin: { address: string; port: number }): Promise<SshChannel> {
    // OpenSSH compares the address with the one it asked for, letter by letter.
    return this.#ownChannels().open(
      'forwarded-tcpip',
      forward.bindAddress,
      forward.bindPort,
      origin.address,
      origin.port,
    )
  }

  openVisit(payload: Buffer): Promise<SshChannel> {
    return this.#ownChannels().open(VISIT_CHANNEL, payload)
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

  onKeys(): void {
    this.#login?.onKeys?.()
  }

  onMessage(type: number, payload: Buffer): void {
    if (this.#login !== undefined) {
      this.#login.onMessage(type, payload)
      return
    }
    switch (type) {
      case Message.GLOBAL_REQUEST:
        this.#requests ??= new GlobalRequests(this.transport, this.#handlers)
        this.#requests.onMessage(payload)
        break
      case Message.REQUEST_SUCCESS:
      case Message.REQUEST_FAILURE:
        // Answers to a ping; that they came is all they say.
        break
      case Message.USERAUTH_REQUEST:
        // To be ignored silently after a login (RFC 4252 §5.3).
        break
      default:
        if (!this.#ownChannels().onMessage(type, payload)) this.transport.unimplemented()
    }
  }

  onRoom(): void {
    this.#channels?.onRoom()
  }

  onEnd(error: SshEndError | undefined): void {
    this.#error = error
    this.#login = undefined
    this.#channels?.onEnd()
  }

  onGone(): void {
    if (this.#gone) return
    this.#gone = true
    this.#handlers.onClose(this.#error)
  }

  #ownChannels(): Channels {
    return (this.#channels ??= new Channels(this.transport, this.#handlers))
  }

  #onLogin(offer: KeyOffer): void {
    this.#login = undefined
    this.transport.loggedIn = true
    this.#handlers.onReady(offer)
  }
}
