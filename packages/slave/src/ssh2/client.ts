// The client's end of an SSH connection, for what slaves say to each other: the same transport, channels and pump as the
// server's, with a login by a private key and a host key that must be one of those named. Dials nothing: it is handed a socket.
import type { Socket } from 'node:net'

import { WireReader } from '@sshoal/shared/ssh-wire'

import { buildOffer } from './algorithms.ts'
import { ClientLogin } from './client-login.ts'
import { Connection } from './connection.ts'
import { HostKey } from './host-key.ts'
import { proposalOf } from './negotiation.ts'
import type { SshChannel, SshEndError } from './ssh-server.ts'
import { identOf } from './transport.ts'

const MAX_UNSENT_BYTES = 8 * 1024 * 1024

export interface SshClientOptions {
  /** In OpenSSH or PEM form. */
  privateKey: string
  username: string
  /** Host keys in wire form; a server that shows another is not talked to. */
  hostKeys: readonly Buffer[]
  software: string
}

export interface SshClientHandlers {
  /** Logged in. */
  onReady(): void
  /** The last call, exactly once. */
  onClose(error?: SshEndError): void
}

export interface SshClient {
  readonly socket: Socket
  /** ms on the monotonic clock when the peer was last heard. */
  readonly lastHeardAt: number
  /** Opens `visit@sshoal`. Rejects with `ChannelOpenError`. */
  openVisit(payload: Buffer): Promise<SshChannel>
  ping(): void
  disconnect(text: string): void
  destroy(): void
}

/** Speaks over `socket`, connected or about to be. Throws `HostKeyError` for a private key that cannot be used. */
export function connectSsh(
  socket: Socket,
  options: SshClientOptions,
  handlers: SshClientHandlers,
): SshClient {
  const key = new HostKey(options.privateKey)
  const offer = buildOffer('modern', options.hostKeys.flatMap(algorithmsOf), 'client')
  const refusal = { outcome: 'refuse', text: 'nothing is opened this way' } as const
  return new Connection(
    socket,
    {
      authenticate: () => Promise.resolve({ outcome: 'refuse' }),
      onBadSignature: () => {},
      onReady: () => handlers.onReady(),
      onForward: () => Promise.resolve(null),
      onCancelForward: () => Promise.resolve(false),
      onDirect: () => Promise.resolve(refusal),
      onClose: (error) => handlers.onClose(error),
    },
    {
      hostKeys: {},
      offer,
      proposal: proposalOf(offer),
      ident: identOf(options.software),
      maxUnsentBytes: MAX_UNSENT_BYTES,
      believes: (hostKey) => options.hostKeys.some((known) => known.equals(hostKey)),
    },
    (transport, onSuccess) => new ClientLogin(transport, key, options.username, onSuccess),
  )
}

/** What a host key of this type signs with. */
function algorithmsOf(hostKey: Buffer): string[] {
  const type = new WireReader(hostKey).text()
  return type === 'ssh-rsa' ? ['rsa-sha2-512', 'rsa-sha2-256'] : [type]
}
