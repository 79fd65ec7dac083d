// One client, logged in or not yet: its transport, its login, and then its global requests and its channels. Dispatches
// the messages of RFC 4252 and RFC 4254 that the transport hands over. Knows nothing of devices, tunnels or ports.
import type { Socket } from 'node:net'

import { message } from '@sshoal/shared/ssh-wire'

import { Channels } from './channels.ts'
import { GlobalRequests } from './global-requests.ts'
import { Login } from './login.ts'
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

const KEEPALIVE = message(Message.GLOBAL_REQUEST, 'keepalive@openssh.com', true)

export class Connection implements SshConnection, TransportOwner {
  readonly transport: Transport
  #handlers: SshConnectionHandlers
  #login: Login | undefined
  #requests: GlobalRequests | undefined
  /** Made at the first channel: most tunnels are idle. */
  #channels: Channels | undefined
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
    return this.#ownChannels().openForwarded(forward, origin)
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
