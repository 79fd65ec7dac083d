// The slave's end of the cluster link: dials a master, proves who it is, announces what it holds, and keeps at it.
// While there is no link, notices are dropped (the next snapshot says it all) and requests fail at once.
import {
  CLOSE,
  errorText,
  linkProof,
  masterSpeech,
  MAX_FRAME_BYTES,
  PROTOCOL,
  slaveSpeech,
  SNAPSHOT_TUNNELS,
  SshoalError,
  SUBPROTOCOL,
  Wire,
  type Hello,
  type Log,
  type MasterNoticeHandlers,
  type MasterRequestHandlers,
  type SlaveWire,
  type Tunnel,
} from '@sshoal/shared'
import { HttpsProxyAgent } from 'https-proxy-agent'
import { WebSocket } from 'ws'

const DIAL_DEADLINE_MS = 5_000
const CHALLENGE_DEADLINE_MS = 2 * DIAL_DEADLINE_MS
const RETRY_FIRST_MS = 200
const RETRY_MOST_MS = 5_000
const UNWANTED = new Set<number>([CLOSE.UNAUTHORIZED, CLOSE.VERSION, CLOSE.ID_TAKEN, CLOSE.REPLACED])
/** What a chunk may weigh as JSON, roughly: well below what the wire takes in one frame. */
const CHUNK_BYTES = 2 * 1024 * 1024

export interface MasterAccess {
  token: string | undefined
  /** PEM; undefined: the public authorities. */
  ca: string | undefined
}

/** What changes from hello to hello is asked for at each. */
export interface MasterLinkOptions {
  urls: readonly string[]
  /** Asked before each link: both may have been replaced meanwhile. Must not throw. */
  access(): MasterAccess
  proxy: string | undefined
  hello(): Omit<Hello, 'protocol' | 'signature' | 'tunnels'>
  snapshot(): Tunnel[]
  sign(data: Buffer): Buffer
  onNotice: Omit<MasterNoticeHandlers, 'challenge' | 'welcome'>
  onRequest: MasterRequestHandlers
  onWelcome: MasterNoticeHandlers['welcome']
  log: Log
}

export class MasterLink {
  readonly #options: MasterLinkOptions
  #wire: SlaveWire | undefined
  /** The snapshot is on its way: from here on deltas count. */
  #announced = false
  #welcomed = false
  #attempt = 0
  #retry: NodeJS.Timeout | undefined
  #closed = false
  /** Resolves with the first welcome ever. */
  readonly firstWelcome: Promise<void>
  #resolveFirstWelcome = (): void => {}
  /** Links that were welcomed since start. */
  welcomes = 0

  constructor(options: MasterLinkOptions) {
    this.#options = options
    this.firstWelcome = new Promise((resolve) => {
      this.#resolveFirstWelcome = resolve
    })
    this.#dial()
  }

  get linked(): boolean {
    return this.#welcomed
  }

  /** Whether a master has welcomed this slave, now or before `deadlineMs` have passed. */
  async welcomedWithin(deadlineMs: number): Promise<boolean> {
    if (this.welcomes > 0) return true
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), deadlineMs)
    })
    const met = await Promise.race([this.firstWelcome.then(() => true), late])
    clearTimeout(timer)
    return met
  }

  send: SlaveWire['send'] = (type, body) => {
    if (this.#announced) this.#wire?.send(type, body)
  }

  request: SlaveWire['request'] = (type, question, deadlineMs) => {
    if (!this.#welcomed || !this.#wire)
      return Promise.reject(new SshoalError('LINK_LOST', `${type}: no master is linked`))
    return this.#wire.request(type, question, deadlineMs)
  }

  /** Says good-bye, so that the master need not wait for a grace period. */
  close(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#retry)
    this.send('bye', { reason })
    this.#wire?.close(CLOSE.GOING_AWAY, reason)
  }

  #dial(): void {
    const { urls, proxy, log } = this.#options
    const { token, ca } = this.#options.access()
    const url = urls[this.#attempt % urls.length] ?? ''
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/slaves`, SUBPROTOCOL, {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      handshakeTimeout: DIAL_DEADLINE_MS,
      perMessageDeflate: false,
      maxPayload: MAX_FRAME_BYTES,
      ...(ca === undefined ? {} : { ca }),
      ...(proxy === undefined ? {} : { agent: new HttpsProxyAgent(proxy) }),
    })
    /** Why the socket failed: a certificate, a proxy, nobody there. A close code alone says none of it. */
    let failure = ''
    socket.on('error', (error) => {
      failure ||= errorText(error)
    })
    socket.on('unexpected-response', (request, response) => {
      failure = `HTTP status ${response.statusCode}`
      log.warn({ url, status: response.statusCode }, 'the master does not let this slave in')
      request.destroy()
      socket.terminate()
    })
    const onNotice = {
      ...this.#options.onNotice,
      challenge: ({ nonce }: { nonce: string }) => {
        // From here on the master judges what is late: with a million tunnels to read a welcome may take a minute.
        clearTimeout(deadline)
        this.#announce(wire, nonce)
      },
      welcome: (welcome: Parameters<MasterNoticeHandlers['welcome']>[0]) => {
        this.#welcomed = true
        this.#attempt = 0
        this.welcomes++
        log.info({ url, link: welcome.link }, 'linked')
        this.#options.onWelcome(welcome)
        this.#resolveFirstWelcome()
      },
    }
    const wire: SlaveWire = new Wire({
      socket,
      sends: slaveSpeech,
      receives: masterSpeech,
      onNotice,
      onRequest: this.#options.onRequest,
      onClose: ({ code, reason }) => this.#lost(url, code, reason || failure),
      log,
    })
    this.#wire = wire
    const deadline = setTimeout(() => {
      wire.close(CLOSE.DEADLINE, 'no challenge')
    }, CHALLENGE_DEADLINE_MS)
    socket.on('close', () => clearTimeout(deadline))
  }

  #announce(wire: SlaveWire, nonce: string): void {
    const hello = this.#options.hello()
    const tunnels = this.#options.snapshot()
    const signature = this.#options.sign(linkProof(nonce, hello.id)).toString('base64')
    wire.send('hello', { ...hello, protocol: PROTOCOL, signature, tunnels: tunnels.length })
    const chunks = snapshotChunks(tunnels)
    for (const [index, chunk] of chunks.entries())
      wire.send('snapshot', { tunnels: chunk, last: index === chunks.length - 1 })
    this.#announced = true
  }

  #lost(url: string, code: number, reason: string): void {
    this.#announced = false
    this.#welcomed = false
    this.#wire = undefined
    if (this.#closed) return
    // Told to stay away, it asks at leisure: two processes of one id would else replace each other without end.
    const unwanted = UNWANTED.has(code)
    const most = unwanted
      ? RETRY_MOST_MS
      : Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** Math.min(this.#attempt, 10))
    this.#attempt++
    // Jitter over the upper half: all slaves of a master that restarts must not come at once.
    const waitMs = Math.round(most / 2 + Math.random() * (most / 2))
    const fields = { url, code, reason, retryInMs: waitMs }
    if (this.#attempt === 1) this.#options.log.warn(fields, 'link lost')
    else this.#options.log.info(fields, 'no link')
    this.#retry = setTimeout(() => this.#dial(), waitMs)
  }
}

/** At most 500 tunnels and about 2 MB each; at least one chunk, which may be empty. */
function snapshotChunks(tunnels: readonly Tunnel[]): Tunnel[][] {
  const chunks: Tunnel[][] = [[]]
  let bytes = 0
  for (const tunnel of tunnels) {
    // An upper bound, since writing the JSON twice would cost more than a chunk too many.
    const size = 500 + 700 * tunnel.forwards.length + (tunnel.details ? 4_200 : 0)
    const last = chunks.at(-1) ?? []
    if (last.length > 0 && (last.length >= SNAPSHOT_TUNNELS || bytes + size > CHUNK_BYTES)) {
      chunks.push([tunnel])
      bytes = size
    } else {
      last.push(tunnel)
      bytes += size
    }
  }
  return chunks
}
