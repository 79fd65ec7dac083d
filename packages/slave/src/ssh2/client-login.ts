// The client's side of a login (RFC 4252 §7): one key, one try. What the server says in a banner is why it refuses.
import { fingerprintOf } from '@sshoal/shared'
import { message, string, WireReader } from '@sshoal/shared/ssh-wire'

import type { LoginPart } from './connection.ts'
import type { HostKey } from './host-key.ts'
import { DisconnectReason, Message } from './message.ts'
import type { KeyOffer } from './ssh-server.ts'
import type { Transport } from './transport.ts'

const MAX_BANNER_CHARACTERS = 1_000

export class ClientLogin implements LoginPart {
  readonly #transport: Transport
  readonly #key: HostKey
  readonly #username: string
  readonly #onSuccess: (offer: KeyOffer) => void
  #asked = false
  #banner = ''

  constructor(transport: Transport, key: HostKey, username: string, onSuccess: (offer: KeyOffer) => void) {
    this.#transport = transport
    this.#key = key
    this.#username = username
    this.#onSuccess = onSuccess
  }

  onKeys(): void {
    this.#transport.send(message(Message.SERVICE_REQUEST, 'ssh-userauth'))
  }

  onMessage(type: number, payload: Buffer): void {
    if (type === Message.SERVICE_ACCEPT && !this.#asked) {
      this.#asked = true
      this.#ask()
    } else if (type === Message.USERAUTH_BANNER) {
      this.#banner = new WireReader(payload, 1).text().trim().slice(0, MAX_BANNER_CHARACTERS)
    } else if (type === Message.USERAUTH_SUCCESS && this.#asked) {
      const publicKey = this.#key.getPublicSSH()
      this.#onSuccess({
        username: this.#username,
        algorithm: this.#key.type,
        publicKey,
        fingerprint: fingerprintOf(publicKey),
        verified: true,
      })
    } else if (type === Message.USERAUTH_FAILURE && this.#asked) {
      const text = this.#banner === '' ? 'the key is not accepted' : this.#banner
      this.#transport.disconnect('no other key to try', DisconnectReason.NO_MORE_AUTH_METHODS, {
        code: 'LOGIN_REFUSED',
        message: text,
      })
    } else {
      this.#transport.fail(`message ${type} during the login`)
    }
  }

  #ask(): void {
    const [algorithm = this.#key.type] = this.#key.algorithms
    const publicKey = this.#key.getPublicSSH()
    const request = message(
      Message.USERAUTH_REQUEST,
      this.#username,
      'ssh-connection',
      'publickey',
      true,
      algorithm,
      publicKey,
    )
    const signature = this.#key.sign(Buffer.concat([string(this.#transport.sessionId), request]))
    this.#transport.send(
      Buffer.concat([request, string(Buffer.concat([string(algorithm), string(signature)]))]),
    )
  }
}
