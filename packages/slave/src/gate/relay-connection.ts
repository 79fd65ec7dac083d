// One connection of another slave to this one's relay: logged in with a host key that the master knows, opening visits and
// nothing else. Asks again about its key; who is unknown for a while is cut. Believes nothing of what it says about visits.
import { errorText, readRelayedVisit } from '@sshoal/shared'

import type { Watched } from '../keepalive.ts'
import type { Caller } from '../reception.ts'
import { refusalText, type Refusal } from '../refusal.ts'
import type {
  DirectVerdict,
  KeyOffer,
  KeyVerdict,
  SshConnection,
  SshConnectionHandlers,
  SshEndError,
} from '../ssh2/index.ts'
import { RELAY_KEEPALIVE_MAX, RELAY_KEEPALIVE_MS } from './relay-link.ts'
import type { RelayParts } from './relay-listener.ts'

/** A peer that lost its master for a moment is unknown for a moment: its visits must outlive that. */
const DOUBT_MS = 10_000
const DOUBT_STEP_MS = 1_000
const ASK_DEADLINE_MS = 5_000

const UNKNOWN: Refusal = {
  code: 'NOT_A_PEER',
  reason: 'this key is no host key of a slave that is known here',
}

export class RelayConnection implements SshConnectionHandlers, Watched {
  readonly #parts: RelayParts
  readonly #caller: Caller
  readonly #onGone: () => void
  ssh!: SshConnection
  #offer: KeyOffer | undefined
  #loginTimer: NodeJS.Timeout
  #doubt: NodeJS.Timeout | undefined
  #doubtedSince: number | undefined
  #unwatch: (() => void) | undefined
  #hasSocket = false
  #gone = false

  constructor(parts: RelayParts, caller: Caller, onGone: () => void) {
    this.#parts = parts
    this.#caller = caller
    this.#onGone = onGone
    this.#loginTimer = setTimeout(() => {
      parts.metrics.refusals.inc({ code: 'LOGIN_TIMEOUT' })
      this.ssh.destroy()
    }, parts.settings.loginGraceTime)
  }

  get peer(): string {
    return this.#offer?.username ?? ''
  }

  get fingerprint(): string | undefined {
    return this.#offer?.fingerprint
  }

  get lastHeardAt(): number {
    return this.ssh.lastHeardAt
  }

  ping(): void {
    this.ssh.ping()
  }

  onSilent(): void {
    this.ssh.destroy()
  }

  async authenticate(offer: KeyOffer): Promise<KeyVerdict> {
    if (!offer.verified) return { outcome: 'accept' }
    const known = await this.#isPeer(offer)
    if (known === true) return { outcome: 'accept' }
    const refusal: Refusal =
      known === false ? UNKNOWN : { code: 'TRY_LATER', reason: 'your key cannot be checked right now' }
    if (known === false) this.#parts.penalties.offend(this.#caller.source, this.#caller.address)
    this.#report(refusal, offer)
    return { outcome: 'refuse', banner: refusalText(refusal) }
  }

  onBadSignature(offer: Omit<KeyOffer, 'verified'>): void {
    this.#parts.penalties.offend(this.#caller.source, this.#caller.address)
    this.#report({ code: 'BAD_SIGNATURE', reason: 'the signature is not of the key that was offered' }, offer)
  }

  onReady(offer: KeyOffer): void {
    const { waiting, penalties, keepalive, sockets, log } = this.#parts
    this.#offer = offer
    clearTimeout(this.#loginTimer)
    waiting.leave(this.#caller.source)
    penalties.loggedIn(this.#caller.source)
    this.#hasSocket = sockets.take()
    if (!this.#hasSocket) {
      this.end({ code: 'GATE_FULL', reason: 'this slave has no socket left for relays' })
      return
    }
    this.#unwatch = keepalive.watch(this, RELAY_KEEPALIVE_MS, RELAY_KEEPALIVE_MAX)
    log.info({ peer: this.peer, remoteAddress: this.#caller.address }, 'a slave relays to this one')
  }

  onForward(): Promise<null> {
    return Promise.resolve(null)
  }

  onCancelForward(): Promise<boolean> {
    return Promise.resolve(false)
  }

  onDirect(): Promise<DirectVerdict> {
    return Promise.resolve({ outcome: 'refuse', text: 'a relay opens visits and nothing else' })
  }

  onVisit(payload: Buffer): Promise<DirectVerdict> {
    if (this.#doubtedSince !== undefined)
      return Promise.resolve({ outcome: 'refuse', text: refusalText(UNKNOWN) })
    const visit = readRelayedVisit(payload)
    if (!visit) return Promise.resolve({ outcome: 'refuse', text: 'sshoal: this is no visit' })
    return this.#parts.carry(visit, () =>
      this.#gone ? `slave ${visit.question.via} disconnected` : undefined,
    )
  }

  onClose(error?: SshEndError): void {
    this.#gone = true
    clearTimeout(this.#loginTimer)
    clearTimeout(this.#doubt)
    this.#unwatch?.()
    const { waiting, sockets, metrics, log } = this.#parts
    if (!this.#offer) waiting.leave(this.#caller.source)
    if (this.#hasSocket) sockets.give()
    if (error) metrics.connectionErrors.inc({ code: error.code })
    log.debug({ peer: this.peer, reason: error?.message }, 'relay connection ended')
    this.#onGone()
  }

  end(refusal: Refusal): void {
    this.ssh.disconnect(refusalText(refusal))
  }

  /** Is the peer still known? Cuts it when it has not been for 10 s. */
  async recheck(): Promise<void> {
    const offer = this.#offer
    if (!offer || this.#gone) return
    const known = await this.#isPeer(offer)
    clearTimeout(this.#doubt)
    if (this.#gone || known === undefined) return
    if (known) {
      this.#doubtedSince = undefined
      return
    }
    this.#doubtedSince ??= performance.now()
    if (performance.now() - this.#doubtedSince < DOUBT_MS) {
      this.#doubt = setTimeout(() => void this.recheck(), DOUBT_STEP_MS)
      return
    }
    this.#report(UNKNOWN, offer)
    this.end(UNKNOWN)
  }

  /** Undefined: nobody can say. */
  async #isPeer(offer: KeyOffer): Promise<boolean | undefined> {
    try {
      const question = { publicKey: offer.publicKey.toString('base64') }
      return (await this.#parts.link.request('peer', question, ASK_DEADLINE_MS)).known
    } catch (error) {
      this.#parts.log.debug({ reason: errorText(error) }, 'nobody can say whether this is a slave')
      return undefined
    }
  }

  #report({ code, reason }: Refusal, offer: Pick<KeyOffer, 'username' | 'publicKey'>): void {
    const { metrics, link, log } = this.#parts
    metrics.refusals.inc({ code })
    log.info({ remoteAddress: this.#caller.address, code, reason }, 'relay refused')
    link.send('refused', {
      code,
      reason,
      remoteAddress: this.#caller.address,
      username: offer.username.slice(0, 1_024),
      publicKey: offer.publicKey.toString('base64'),
    })
  }
}
