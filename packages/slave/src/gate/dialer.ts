// Connects to hosts for visits: resolves a name once, judges what it resolved to, and dials exactly that. Never the ports
// of the cluster itself, whoever of it listens there.
import { connect, type Socket } from 'node:net'

import { formatHostPort, type Resolve } from '@sshoal/shared'

import { mayDial, type DialRule } from './dial-rules.ts'
import { canonicalAddress, isForbidden, meantBy } from './forbidden-address.ts'

const DIAL_DEADLINE_MS = 5_000
/** Addresses of one name that are looked at, and that are tried. */
const MAX_ADDRESSES = 8
const MAX_TRIES = 4

export interface DialerOptions {
  rules: readonly DialRule[]
  resolve: Resolve
  /** Which of these are the cluster's own with this port. Rejects where nobody can say: then nothing is dialled. */
  own(addresses: readonly string[], port: number): Promise<readonly string[]>
}

export type Dialled =
  | { outcome: 'connected'; socket: Socket }
  /** `forbidden`: no rule covers it, or it is one of those that are never dialled. */
  | { outcome: 'forbidden' }
  | { outcome: 'failed'; reason: string }

export class Dialer {
  readonly #options: DialerOptions

  constructor(options: DialerOptions) {
    this.#options = options
  }

  /** There is a rule at all. */
  get dials(): boolean {
    return this.#options.rules.length > 0
  }

  /** Never rejects. The socket is paused, half-open and has a listener for errors. */
  async dial(host: string, port: number): Promise<Dialled> {
    if (!this.dials) return { outcome: 'forbidden' }
    const { rules, resolve } = this.#options
    let resolved: readonly string[]
    try {
      resolved = await resolve(host)
    } catch {
      return { outcome: 'failed', reason: 'its name cannot be resolved' }
    }
    const ruled = resolved
      .map(canonicalAddress)
      .filter((address) => !isForbidden(address) && mayDial(rules, address, port))
      .slice(0, MAX_ADDRESSES)
    if (ruled.length === 0) return { outcome: 'forbidden' }
    let own: ReadonlySet<string>
    try {
      own = new Set(await this.#options.own(ruled.flatMap(meantBy), port))
    } catch {
      return { outcome: 'failed', reason: 'it cannot be checked right now whether it may be dialled' }
    }
    const allowed = ruled.filter((address) => !meantBy(address).some((each) => own.has(each)))
    if (allowed.length === 0) return { outcome: 'forbidden' }
    let reason = ''
    for (const address of allowed.slice(0, MAX_TRIES)) {
      const socket = await open(address, port)
      if (typeof socket !== 'string') return { outcome: 'connected', socket }
      reason = socket
    }
    return { outcome: 'failed', reason }
  }
}

/** The text of the error where it fails. */
function open(address: string, port: number): Promise<Socket | string> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, noDelay: true, allowHalfOpen: true })
    const timer = setTimeout(() => socket.destroy(new Error('no answer')), DIAL_DEADLINE_MS)
    socket.once('connect', () => {
      clearTimeout(timer)
      resolve(socket)
    })
    // Its own words name the address, which users are not to know.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(TEXTS[error.code ?? ''] ?? error.message.replaceAll(formatHostPort(address, port), 'it'))
    })
  })
}

const TEXTS: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  EHOSTUNREACH: 'no route to it',
  ENETUNREACH: 'no route to it',
  ETIMEDOUT: 'no answer',
  ECONNRESET: 'connection reset',
}
