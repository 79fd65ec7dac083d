// Connects to hosts for visits: resolves a name once, judges what it resolved to, and dials exactly that. Never the ports
// of the cluster itself on this machine.
import { lookup } from 'node:dns/promises'
import { connect, type Socket } from 'node:net'

import { formatHostPort, type PortRange } from '@sshoal/shared'

import { mayDial, type DialRule } from './dial-rules.ts'
import { canonicalAddress, isForbidden } from './forbidden-address.ts'

const DIAL_DEADLINE_MS = 5_000
/** Addresses of one name that are tried. */
const MAX_TRIES = 4

export interface DialerOptions {
  rules: readonly DialRule[]
  /** Of this machine, as they are now. */
  ownAddresses(): readonly string[]
  /** Where this slave and its neighbours listen. */
  ownPorts(): readonly PortRange[]
  resolve?(host: string): Promise<string[]>
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
    let resolved: string[]
    try {
      resolved = await (this.#options.resolve ?? lookupAll)(host)
    } catch {
      return { outcome: 'failed', reason: 'its name cannot be resolved' }
    }
    const allowed = resolved.map(canonicalAddress).filter((address) => this.#allows(address, port))
    if (allowed.length === 0) return { outcome: 'forbidden' }
    let reason = ''
    for (const address of allowed.slice(0, MAX_TRIES)) {
      const socket = await open(address, port)
      if (typeof socket !== 'string') return { outcome: 'connected', socket }
      reason = socket
    }
    return { outcome: 'failed', reason }
  }

  #allows(address: string, port: number): boolean {
    const { rules, ownAddresses, ownPorts } = this.#options
    if (isForbidden(address) || !mayDial(rules, address, port)) return false
    const own = ownAddresses().some((each) => canonicalAddress(each) === address)
    return !own || !ownPorts().some(({ first, last }) => port >= first && port <= last)
  }
}

async function lookupAll(host: string): Promise<string[]> {
  return (await lookup(host, { all: true, verbatim: true })).map(({ address }) => address)
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
