import { message } from '@sshoal/shared/ssh-wire'

// The key exchanges of one transport (RFC 4253 §7): what the client offered is judged before ssh2 sees it, what ssh2 does
// wrong in each is mended, and new keys are asked for when the old ones are due. The exchange itself is ssh2's.
import { SIGNATURE_ALGORITHMS } from './algorithms.ts'
import { lasting } from './lasting.ts'
import type { Protocol } from './library.ts'
import { DisconnectReason, Message } from './message.ts'
import { findMismatch, guessedRight, readProposal } from './negotiation.ts'
import type { Proposal } from './negotiation.ts'
import { usePacketMemory } from './patches/packet-memory.ts'
import { useCheapX25519 } from './patches/x25519.ts'
import type { SshEndError } from './ssh-server.ts'

/** ssh2's server never starts a key exchange by itself; RFC 4253 §9 recommends one per gigabyte and hour. */
const RENEW_BYTES = 1024 ** 3
const RENEW_MS = 3_600_000

/** What an exchange needs of its transport. */
export interface ExchangeOwner {
  readonly ended: boolean
  send(payload: Buffer): void
  disconnect(text: string, reason: number, error: SshEndError): void
  stopIfEnded(result: unknown): unknown
}

export class KeyExchanges {
  readonly #protocol: Protocol
  readonly #owner: ExchangeOwner
  readonly #ours: Proposal
  readonly #renewBytes: number
  readonly #isClient: boolean
  #sendExtInfo = false
  /** Bytes in both directions under the keys in use. */
  #bytes = 0
  /** When the keys in use came into use; 0: none yet. */
  #keysAt = 0

  constructor(
    protocol: Protocol,
    settings: { proposal: Proposal; rekeyBytes?: number; believes?: unknown },
    owner: ExchangeOwner,
  ) {
    this.#protocol = protocol
    this.#owner = owner
    this.#ours = settings.proposal
    this.#isClient = settings.believes !== undefined
    this.#renewBytes = settings.rekeyBytes ?? RENEW_BYTES
  }

  count(bytes: number): void {
    this.#bytes += bytes
  }

  /** The peer's KEXINIT; `proceed` hands it to ssh2. */
  onInit(payload: Buffer, proceed: (payload: Buffer) => unknown): unknown {
    const protocol = this.#protocol
    const theirs = readProposal(payload)
    const mismatch = this.#isClient ? findMismatch(this.#ours, theirs) : findMismatch(theirs, this.#ours)
    if (mismatch !== undefined) {
      const text = `no matching ${mismatch.category}; the client offered ${mismatch.client.join(',')}`
      this.#owner.disconnect(text.slice(0, 1024), DisconnectReason.KEY_EXCHANGE_FAILED, {
        code: 'NEGOTIATION_FAILED',
        message: text,
        offered: mismatch,
      })
      return Infinity
    }
    const result = proceed(payload)
    if (this.#owner.ended || protocol._kex === undefined) return result
    protocol._skipNextInboundPacket = theirs.guessFollows && !guessedRight(theirs, this.#ours)
    // ssh2's own EXT_INFO lacks a comma ("ecdsa-sha2-nistp521rsa-sha2-512"), so it is told that none is wanted.
    this.#sendExtInfo ||= !this.#isClient && this.#keysAt === 0 && theirs.kex.includes('ext-info-c')
    protocol._kex.remoteExtInfoEnabled = false
    // A client has sent its half already.
    if (!this.#isClient) useCheapX25519(protocol._kex)
    if (this.#keysAt !== 0) {
      // A later exchange brings its own listener, which goes on parsing with a freed cipher after a DISCONNECT.
      const decipher = protocol._decipher
      const during = decipher._onPayload
      decipher._onPayload = (packet) => this.#owner.stopIfEnded(during(packet))
    }
    return result
  }

  /** New keys are in use in both directions. */
  onKeys(): void {
    this.#bytes = 0
    usePacketMemory(this.#protocol._cipher)
    this.#tidy()
    this.#keysAt = performance.now()
    if (!this.#sendExtInfo) return
    this.#sendExtInfo = false
    this.#owner.send(
      Buffer.concat([
        Buffer.of(Message.EXT_INFO, 0, 0, 0, 1),
        message(0, 'server-sig-algs', SIGNATURE_ALGORITHMS.join(',')).subarray(1),
      ]),
    )
  }

  /** Keeps of a finished exchange what later ones need; ssh2 would keep all of it as long as the connection lives. */
  #tidy(): void {
    const protocol = this.#protocol
    const { _decipher: decipher, _kex: kex, _remoteIdentRaw: theirs } = protocol
    let sessionID = kex?.sessionID
    if (this.#keysAt === 0) {
      if (sessionID) sessionID = lasting(sessionID)
      if (theirs) protocol._remoteIdentRaw = lasting(theirs)
    }
    if (decipher._tag) decipher._tag = lasting(decipher._tag)
    protocol._kex = { sessionID } as Protocol['_kex']
  }

  /** Starts an exchange where the keys were used for long enough; `now` on the monotonic clock. Servers do, for both. */
  renewIfDue(now: number): void {
    if (this.#isClient || this.#protocol._kexinit !== undefined) return
    if (this.#bytes >= this.#renewBytes || now - this.#keysAt >= RENEW_MS) this.#protocol.rekey()
  }
}
