// The life of one SSH connection: connected, recognised, ready, forwarding, gone. Owns its timers and its tunnel.
// What a key may do is its roles' to say: `tcpip-forward` needs that of a device, `direct-tcpip` that of a user; one key
// may have both. Knows nothing of ssh2.
import type { DeviceRole, Identity, Log, UserRole } from '@sshoal/shared'

import { openForward } from './forwarding.ts'
import type { Visitor } from './gate/gate.ts'
import type { Recognition } from './identities.ts'
import type { Caller } from './reception.ts'
import { refusalText, type Refusal } from './refusal.ts'
import { changeRefusal, loginRefusal, notAUser } from './role-refusal.ts'
import { sessionText } from './session-text.ts'
import type { SlaveParts } from './slave-parts.ts'
import type {
  DirectRequest,
  DirectVerdict,
  ForwardRequest,
  KeyOffer,
  KeyVerdict,
  ShellView,
  SshConnection,
  SshConnectionHandlers,
  SshEndError,
} from './ssh2/index.ts'
import type { LiveTunnel } from './tunnel.ts'

export class ClientConnection implements SshConnectionHandlers {
  readonly parts: SlaveParts
  readonly remoteAddress: string
  readonly #caller: Caller
  readonly #connectedAt = performance.now()
  /** Set by the server right after it took the socket. */
  ssh!: SshConnection
  /** Asked at most once per key (design, "The hook"); gone after login. */
  #recognitions: Map<string, Promise<Recognition>> | undefined = new Map()
  #timer: NodeJS.Timeout | undefined
  #expiry: NodeJS.Timeout | undefined
  #unwatch: (() => void) | undefined
  #offer: KeyOffer | undefined
  #roles: Identity = {}
  /** At the login nobody could say whether the key is a user's. */
  #usersOut = false
  #visitor: Visitor | undefined
  tunnel: LiveTunnel | undefined
  /** Its source has one tunnel more (penalties.ts). */
  #counted = false
  #hadSession = false
  #isDropbear = false
  /** One of the gate's: it holds no tunnel. */
  #hasGateSocket = false
  #ending: Refusal | undefined

  constructor(parts: SlaveParts, caller: Caller) {
    this.parts = parts
    this.#caller = caller
    this.remoteAddress = caller.address
    this.#timer = setTimeout(() => this.#loginTimedOut(), parts.settings.loginGraceTime)
  }

  get log(): Log {
    return this.parts.log
  }

  get device(): DeviceRole | undefined {
    return this.#roles.device
  }

  get user(): UserRole | undefined {
    return this.#roles.user
  }

  get authenticated(): boolean {
    return this.#offer !== undefined
  }

  get fingerprint(): string {
    return this.#offer?.fingerprint ?? ''
  }

  get username(): string {
    return this.#offer?.username ?? ''
  }

  onIdent(software: string): void {
    this.#isDropbear = software.startsWith('dropbear')
  }

  async authenticate(offer: KeyOffer): Promise<KeyVerdict> {
    const recognition = this.#recognise(offer)
    // A probe is answered "acceptable" whoever asks: only a signature proves who it is, and only then a reason may be told.
    if (!offer.verified) return { outcome: 'accept' }
    const answer = await recognition
    if (answer.outcome === 'known' && (answer.identity.device || answer.identity.user)) {
      this.#roles = answer.identity
      this.#usersOut = answer.usersOut !== undefined
      return { outcome: 'accept' }
    }
    const refusal = loginRefusal(answer, offer.fingerprint)
    if (refusal.code === 'KEY_UNKNOWN') this.parts.penalties.offend(this.#caller.source, this.remoteAddress)
    this.parts.metrics.logins.inc({ outcome: answer.outcome === 'outage' ? 'outage' : 'refused' })
    this.#report(refusal, offer)
    return { outcome: 'refuse', banner: refusalText(refusal) }
  }

  onBadSignature(offer: Omit<KeyOffer, 'verified'>): void {
    this.parts.metrics.logins.inc({ outcome: 'bad-signature' })
    this.parts.penalties.offend(this.#caller.source, this.remoteAddress)
    this.#report(
      { code: 'BAD_SIGNATURE', reason: 'the signature is not of the key that was offered' },
      { username: offer.username },
    )
  }

  onReady(offer: KeyOffer): void {
    this.#offer = offer
    this.#recognitions = undefined
    this.parts.metrics.logins.inc({ outcome: 'accepted' })
    this.parts.connections.ready(this)
    this.parts.waiting.leave(this.#caller.source)
    this.parts.penalties.loggedIn(this.#caller.source)
    if (!this.device) {
      this.#hasGateSocket = this.parts.gate.sockets.take()
      if (!this.#hasGateSocket)
        return this.refuse({
          code: 'GATE_FULL',
          reason: 'this slave has no room for more users; try another',
        })
    }
    this.#allowIdle()
    this.#watch()
    this.log.debug(
      { ...this.#who(), remoteAddress: this.remoteAddress, username: offer.username },
      'logged in',
    )
  }

  async onForward(request: ForwardRequest): Promise<number | null> {
    const opened = await openForward(this, request)
    if (opened.outcome === 'opened') {
      this.#settle()
      if (!this.#counted) this.parts.penalties.tunnelUp(this.#caller.source)
      this.#counted = true
      return opened.port
    }
    // dropbear shows no text of a DISCONNECT and leaves with 0; that a forward failed it shows, so that comes first.
    if (this.#isDropbear) setImmediate(() => this.refuse(opened.refusal))
    else this.refuse(opened.refusal)
    return null
  }

  onCancelForward(request: ForwardRequest): Promise<boolean> {
    const { tunnel } = this
    const forward = tunnel?.forwards.find(
      ({ request: stands, shown }) =>
        stands.bindAddress === request.bindAddress &&
        (stands.bindPort === request.bindPort || shown.port === request.bindPort),
    )
    if (!tunnel || !forward) return Promise.resolve(false)
    if (tunnel.forwards.length > 1) this.parts.tunnels.removeForward(tunnel, forward)
    else {
      this.parts.tunnels.down(tunnel, 'the device cancelled its last forward', 'cancelled')
      this.tunnel = undefined
      // Visits that are under way go on in peace.
      tunnel.visits.onQuiet(() => {
        if (!this.tunnel && !this.ssh.socket.destroyed) this.#allowIdle()
      })
    }
    return Promise.resolve(true)
  }

  async onDirect(request: DirectRequest): Promise<DirectVerdict> {
    const { user } = this
    if (!user) {
      const refusal = notAUser(this.#usersOut)
      this.parts.metrics.refusals.inc({ code: refusal.code })
      this.#report(refusal, this.#offer)
      return { outcome: 'refuse', text: refusalText(refusal) }
    }
    const verdict = await this.parts.gate.visit(this.#visitorOf(user), request)
    if (verdict.outcome === 'accept') this.#settle()
    return verdict
  }

  #visitorOf(user: UserRole): Visitor {
    this.#visitor ??= {
      user,
      fingerprint: this.fingerprint,
      remoteAddress: this.remoteAddress,
      visits: 0,
      whyGone: () =>
        this.ssh.socket.destroyed || this.ssh.socket.writableEnded ? 'the user disconnected' : undefined,
    }
    this.#visitor.user = user
    return this.#visitor
  }

  onRefusedRequest(type: 'exec' | 'subsystem'): void {
    this.parts.metrics.refusals.inc({ code: 'NO_SHELL' })
    this.#report({ code: 'NO_SHELL', reason: `${type} is refused: nothing is ever run here` }, this.#offer)
  }

  onSession(): void {
    this.#hadSession = true
    this.#settle()
  }

  async onShell(): Promise<ShellView | undefined> {
    const text = await sessionText(this.parts, this, this.ssh.socket)
    // Without a terminal a device's `ssh -R` must outlive its empty input; who only asks what there is wants an end.
    return { text: `${text}\n`, endsAtEof: !this.device }
  }

  onClose(error?: SshEndError): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#expiry)
    this.#unwatch?.()
    if (this.#hasGateSocket) this.parts.gate.sockets.give()
    if (!this.authenticated) this.parts.waiting.leave(this.#caller.source)
    this.parts.connections.gone(this)
    if (this.#counted) this.parts.penalties.tunnelDown(this.#caller.source)
    const reason = this.#ending?.reason ?? error?.message ?? 'the device disconnected'
    if (error) {
      this.parts.metrics.connectionErrors.inc({ code: error.code })
      this.log.debug(
        {
          remoteAddress: this.remoteAddress,
          code: error.code,
          reason: error.message,
          offered: error.offered,
        },
        'connection ended',
      )
    }
    if (error?.code === 'NEGOTIATION_FAILED') this.#reportNegotiation(error)
    if (!this.tunnel) return
    this.parts.tunnels.down(
      this.tunnel,
      reason,
      this.#ending?.code.toLowerCase() ?? error?.code.toLowerCase() ?? 'disconnected',
    )
    // T084: the visits of a device that is gone are cut.
    this.tunnel.visits.cutAll()
  }

  /** Refuses a request of this device: says why, ends the connection where no tunnel stands, and reports it. */
  refuse(refusal: Refusal): void {
    this.parts.metrics.refusals.inc({ code: refusal.code })
    this.#report(refusal, this.#offer)
    this.log.info({ ...this.#who(), remoteAddress: this.remoteAddress, ...refusal }, 'refused')
    if (!this.tunnel) this.end(refusal)
  }

  /** Ends the connection; the client reads why. */
  end(refusal: Refusal): void {
    this.#ending ??= refusal
    if (this.tunnel) this.parts.tunnels.down(this.tunnel, refusal.reason, refusal.code.toLowerCase())
    this.ssh.disconnect(refusalText(refusal))
  }

  /** The hook was asked again for this connection's key. */
  async recheck(): Promise<'kept' | 'cut'> {
    const offer = this.#offer
    if (!offer) return 'kept'
    const answer = await this.parts.identities.who(this.#question(offer), { fresh: true })
    if (answer.outcome === 'outage') return 'kept'
    const roles = answer.outcome === 'known' ? { ...answer.identity } : {}
    // The hook is out: whoever was a device still is.
    if (answer.outcome === 'known' && answer.outage !== undefined && this.#roles.device)
      roles.device ??= this.#roles.device
    // The store is out: whoever was a user still is, and the master is asked about each visit.
    if (answer.outcome === 'known' && answer.usersOut !== undefined && this.#roles.user)
      roles.user ??= this.#roles.user
    const refusal = changeRefusal(this.#roles, roles)
    if (!refusal) {
      this.#roles = roles
      this.#watch()
      return 'kept'
    }
    this.end(refusal)
    return 'cut'
  }

  #recognise(offer: KeyOffer): Promise<Recognition> {
    const known = this.#recognitions?.get(offer.fingerprint)
    if (known) return known
    const asked = this.parts.identities.who(this.#question(offer))
    this.#recognitions?.set(offer.fingerprint, asked)
    return asked
  }

  #question(offer: KeyOffer) {
    return {
      publicKey: offer.publicKey.toString('base64'),
      username: offer.username,
      remoteAddress: this.remoteAddress,
    }
  }

  /** It holds or shows something: the "nothing after login" limit is over. */
  #settle(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** From now on it has the idle grace time to hold or show something. */
  #allowIdle(): void {
    clearTimeout(this.#timer)
    if (!this.#hadSession)
      this.#timer = setTimeout(() => this.#idleTimedOut(), this.parts.settings.idleGraceTime)
  }

  #watch(): void {
    const { keepalive, settings } = this.parts
    this.#unwatch?.()
    this.#unwatch = keepalive.watch(
      this,
      this.device?.keepaliveMs ?? settings.keepalive,
      settings.keepaliveMax,
    )
    clearTimeout(this.#expiry)
    const expiresAt = this.device?.expiresAt
    if (expiresAt === undefined) return
    // setTimeout holds at most 2^31-1 ms; a later end is looked at again then.
    const inMs = Math.max(0, expiresAt - Date.now())
    if (inMs > 0x7fffffff) this.#expiry = setTimeout(() => this.#watch(), 0x7fffffff)
    else
      this.#expiry = setTimeout(
        () => this.end({ code: 'KEY_EXPIRED', reason: 'the time of this key is over' }),
        inMs,
      )
  }

  get lastHeardAt(): number {
    return this.ssh.lastHeardAt
  }

  ping(): void {
    this.ssh.ping()
  }

  onSilent(): void {
    this.#ending ??= { code: 'KEEPALIVE_TIMEOUT', reason: 'the device gave no sign of life' }
    // Not `disconnect`: nobody reads it, and a socket that is only half closed would hold the port (RFC 9293 FIN-WAIT).
    this.ssh.destroy()
  }

  #loginTimedOut(): void {
    this.parts.metrics.refusals.inc({ code: 'LOGIN_TIMEOUT' })
    this.#report({ code: 'LOGIN_TIMEOUT', reason: 'not logged in within the login grace time' }, undefined)
    this.ssh.destroy()
  }

  #idleTimedOut(): void {
    const seconds = Math.round(this.parts.settings.idleGraceTime / 1_000)
    this.refuse({
      code: 'IDLE_TIMEOUT',
      reason: this.device
        ? `no forward and no session for ${seconds} s; ask for one with ssh -R`
        : `no visit and no session for ${seconds} s`,
    })
  }

  #reportNegotiation(error: SshEndError): void {
    const { category = 'unknown', client = [] } = error.offered ?? {}
    const reason = `no common ${category}; the client offered ${client.join(', ')}`
    this.log.info({ remoteAddress: this.remoteAddress, category, client }, 'negotiation failed')
    this.#report({ code: 'NEGOTIATION_FAILED', reason: reason.slice(0, 1_000) }, undefined)
  }

  #report(refusal: Refusal, offer: { username: string; publicKey?: Buffer } | undefined): void {
    const { device, user } = this
    this.parts.link.send('refused', {
      code: refusal.code,
      reason: refusal.reason,
      remoteAddress: this.remoteAddress,
      ...(offer ? { username: offer.username.slice(0, 1_024) } : {}),
      ...(offer?.publicKey ? { publicKey: offer.publicKey.toString('base64') } : {}),
      ...(device ? { project: device.project, device: device.device } : {}),
      ...(user ? { project: user.project, user: user.user } : {}),
    })
  }

  #who(): { device?: string; user?: string } {
    const { device, user } = this
    return { ...(device ? { device: device.device } : {}), ...(user ? { user: user.user } : {}) }
  }

  /** How long the connection has been there, ms. */
  get ageMs(): number {
    return performance.now() - this.#connectedAt
  }
}
