import { fingerprintOf } from '@sshoal/shared'
import { verifySignature } from '@sshoal/shared/ssh-signature'
import { WireReader, message, string } from '@sshoal/shared/ssh-wire'

// One login (RFC 4252): public key only, signatures checked here before anybody is asked, tries counted. ssh2 neither
// verifies signatures nor limits tries, and its PK_OK answers "ssh-rsa" to a key offered as rsa-sha2-512.
// Knows nothing of devices or users: `authenticate` decides.
import { SIGNATURE_ALGORITHMS } from './algorithms.ts'
import { lasting } from './lasting.ts'
import { DisconnectReason, Message } from './message.ts'
import type { KeyOffer, KeyVerdict, SshConnectionHandlers } from './ssh-server.ts'
import type { Transport } from './transport.ts'

/** Requests that may wait for the answer to an earlier one. */
const MAX_WAITING = 10

interface KeyRequest {
  username: string
  /** Algorithm of the signature, e.g. `rsa-sha2-512` for an `ssh-rsa` key. */
  algorithm: string
  publicKey: Buffer
  /** Missing: only asks whether the key would do. */
  proof?: { signature: Buffer; signed: Buffer }
}

export class Login {
  #transport: Transport
  #handlers: SshConnectionHandlers
  #maxTries: number
  #failures = 0
  #requests = 0
  #username: string | undefined
  #busy = false
  #waiting: Buffer[] = []
  #serviceAccepted = false
  #onSuccess: (offer: KeyOffer) => void

  constructor(
    transport: Transport,
    handlers: SshConnectionHandlers,
    maxTries: number,
    onSuccess: (offer: KeyOffer) => void,
  ) {
    this.#transport = transport
    this.#handlers = handlers
    this.#maxTries = maxTries
    this.#onSuccess = onSuccess
  }

  /** Everything that is not allowed before a login ends the connection (RFC 4252 §6). */
  onMessage(type: number, payload: Buffer): void {
    if (type === Message.SERVICE_REQUEST) {
      const service = new WireReader(payload, 1).text()
      if (service !== 'ssh-userauth' || this.#serviceAccepted) {
        this.#transport.disconnect('service not available', DisconnectReason.SERVICE_NOT_AVAILABLE)
        return
      }
      this.#serviceAccepted = true
      this.#transport.send(message(Message.SERVICE_ACCEPT, service))
    } else if (type === Message.USERAUTH_REQUEST && this.#serviceAccepted) {
      if (!this.#busy) this.#onRequest(payload)
      else if (this.#waiting.length < MAX_WAITING) this.#waiting.push(Buffer.from(payload))
      else this.#transport.fail('too many authentication requests at once')
    } else {
      this.#transport.fail(`message ${type} before the login`)
    }
  }

  #onRequest(payload: Buffer): void {
    const fields = new WireReader(payload, 1)
    const username = fields.text()
    const service = fields.text()
    const method = fields.text()
    if (service !== 'ssh-connection') {
      this.#transport.disconnect('service not available', DisconnectReason.SERVICE_NOT_AVAILABLE)
      return
    }
    this.#username ??= username
    if (username !== this.#username) {
      this.#transport.fail('change of user name is not allowed')
      return
    }
    this.#requests += 1
    // PK_OK is no failure, so a client that only ever asks is bounded by its requests: each try may take two.
    if (this.#requests > 2 * this.#maxTries + 2) {
      this.#tooManyTries()
      return
    }
    if (method === 'none' && this.#requests === 1) {
      // How clients learn which methods there are; not counted by sshd either.
      this.#sendFailure()
      return
    }
    if (method !== 'publickey') {
      this.#countFailure()
      return
    }
    const signedRequest = fields.boolean()
    const request: KeyRequest = {
      username,
      algorithm: fields.text(),
      publicKey: Buffer.from(fields.string()),
    }
    if (signedRequest) {
      const signed = Buffer.concat([string(this.#transport.sessionId), payload.subarray(0, fields.position)])
      request.proof = { signature: fields.string(), signed }
    }
    this.#onKey(request)
  }

  #onKey(request: KeyRequest): void {
    const { algorithm, publicKey, username } = request
    const keyType = new WireReader(publicKey).text()
    if (
      !SIGNATURE_ALGORITHMS.includes(algorithm) ||
      keyType !== (algorithm.startsWith('rsa-sha2-') ? 'ssh-rsa' : algorithm)
    ) {
      this.#countFailure()
      return
    }
    const offer = { username, algorithm: keyType, publicKey, fingerprint: fingerprintOf(publicKey) }
    const { proof } = request
    if (proof !== undefined && !verifySignature(algorithm, publicKey, proof.signed, proof.signature)) {
      this.#handlers.onBadSignature(offer)
      this.#countFailure()
      return
    }
    this.#busy = true
    void this.#decide(algorithm, { ...offer, verified: proof !== undefined })
  }

  async #decide(algorithm: string, offer: KeyOffer): Promise<void> {
    let verdict: KeyVerdict
    try {
      verdict = await this.#handlers.authenticate(offer)
    } catch {
      verdict = { outcome: 'refuse' }
    }
    if (this.#transport.ended) return
    this.#busy = false
    if (verdict.outcome === 'disconnect') {
      this.#transport.disconnect(verdict.text)
      return
    }
    if (verdict.outcome === 'refuse') {
      // A banner before the failure is the one text that every client shows; only the owner of the key may read it.
      if (offer.verified && verdict.banner !== undefined && verdict.banner !== '') {
        this.#transport.send(message(Message.USERAUTH_BANNER, `${verdict.banner.trimEnd()}\n`, ''))
      }
      this.#countFailure()
    } else if (offer.verified) {
      this.#waiting = []
      this.#transport.send(message(Message.USERAUTH_SUCCESS))
      this.#onSuccess({ ...offer, publicKey: lasting(offer.publicKey) })
      return
    } else {
      this.#transport.send(message(Message.USERAUTH_PK_OK, algorithm, offer.publicKey))
    }
    this.#next()
  }

  #next(): void {
    try {
      while (!this.#busy && !this.#transport.ended) {
        const payload = this.#waiting.shift()
        if (payload === undefined) return
        this.#onRequest(payload)
      }
    } catch {
      this.#transport.fail('malformed authentication request')
    }
  }

  #countFailure(): void {
    this.#failures += 1
    if (this.#failures >= this.#maxTries) this.#tooManyTries()
    else this.#sendFailure()
  }

  #sendFailure(): void {
    this.#transport.send(message(Message.USERAUTH_FAILURE, 'publickey', false))
  }

  #tooManyTries(): void {
    const text = 'Too many authentication failures'
    this.#transport.disconnect(text, DisconnectReason.NO_MORE_AUTH_METHODS, {
      code: 'TOO_MANY_AUTH_TRIES',
      message: text,
    })
  }
}
