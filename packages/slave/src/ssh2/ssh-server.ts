// The seam between the slave and the SSH library. Above this folder nobody knows ssh2; inside it nobody knows
// devices, tunnels, masters or hooks. Every promise a handler returns is awaited in the order of the requests (RFC 4254 §4).
import type { Socket } from 'node:net'

import type { FairTurns } from './fair-turns.ts'

/** One offered public key: a probe (`verified: false`) or a signature that was checked (`verified: true`). RFC 4252 §7. */
export interface KeyOffer {
  username: string
  /** Key type, e.g. `ssh-ed25519`. */
  algorithm: string
  /** The key in SSH wire form (RFC 4253 §6.6). */
  publicKey: Buffer
  /** `SHA256:…` without padding, as OpenSSH prints it. */
  fingerprint: string
  verified: boolean
}

/** `accept` answers PK_OK or success; `refuse` shows `banner` (only together with a verified key) and fails the try; `disconnect` ends the connection with a text. */
export type KeyVerdict =
  | { outcome: 'accept' }
  | { outcome: 'refuse'; banner?: string }
  | { outcome: 'disconnect'; text: string }

/** A `tcpip-forward` or `cancel-tcpip-forward` request, verbatim (RFC 4254 §7.1). */
export interface ForwardRequest {
  bindAddress: string
  bindPort: number
}

/** A `direct-tcpip` open (RFC 4254 §7.2). */
export interface DirectRequest {
  address: string
  port: number
  originAddress: string
  originPort: number
}

/**
 * An `accept` channel stands on the connection until both sides closed it; `abandoned` instead of `opened`: the client left
 * meanwhile. `code`: an `OpenFailure` (RFC 4254 §5.1); missing: administratively prohibited.
 */
export type DirectVerdict =
  | { outcome: 'accept'; opened(channel: SshChannel): void; abandoned(): void }
  | { outcome: 'refuse'; text: string; code?: number }

/** What a session's shell shows; the engine deals with pty, Ctrl-C, Ctrl-D and EOF. */
export interface ShellView {
  /** Lines are joined with CRLF on a pty and LF without. */
  text: string
  /** Without a pty, too, EOF ends the session. */
  endsAtEof?: boolean
}

/** The owner of a connection. Each is called on the connection's own turn; none may throw, a rejected promise is a refusal. */
export interface SshConnectionHandlers {
  /** The client's identification string arrived (RFC 4253 §4.2). */
  onIdent?(software: string): void
  /** Not called for a key whose signature does not verify; `onBadSignature` is. */
  authenticate(offer: KeyOffer): Promise<KeyVerdict>
  onBadSignature(offer: Omit<KeyOffer, 'verified'>): void
  /** Authenticated; the offer that won. */
  onReady(offer: KeyOffer): void
  /** Resolves to the port that was bound (told to the client when it asked for 0), or to null: refused. */
  onForward(request: ForwardRequest): Promise<number | null>
  /** True: it stood and is gone. */
  onCancelForward(request: ForwardRequest): Promise<boolean>
  onDirect(request: DirectRequest): Promise<DirectVerdict>
  /** A `shell` request on a session; undefined refuses it. exec, subsystem and all else are refused by the engine. Absent: no sessions. */
  onShell?(): Promise<ShellView | undefined>
  /** Another slave opens a visit; absent: no such channels here. */
  onVisit?(payload: Buffer): Promise<DirectVerdict>
  /** An `exec` or `subsystem` request was refused. */
  onRefusedRequest?(type: 'exec' | 'subsystem'): void
  /** A session was opened (counts as a sign of life against the "nothing after login" limit). */
  onSession?(): void
  /** The last call, exactly once, when the socket is gone for good. `error` says why when it was not orderly. */
  onClose(error?: SshEndError): void
}

/** Why a connection ended when it was not the client's orderly wish. */
export interface SshEndError {
  code:
    | 'NEGOTIATION_FAILED'
    | 'PROTOCOL_ERROR'
    | 'SOCKET_ERROR'
    | 'WINDOW_ABUSE'
    | 'BUFFER_LIMIT'
    | 'TOO_MANY_AUTH_TRIES'
    | 'LOGIN_REFUSED'
    | 'DESTROYED'
  message: string
  /** NEGOTIATION_FAILED: what the client offered in the category that did not match. */
  offered?: { category: string; client: string[] }
}

export interface SshConnection {
  readonly socket: Socket
  /** ms on the monotonic clock (`performance.now()`) when the last packet of the peer arrived. */
  readonly lastHeardAt: number
  /** Opens `forwarded-tcpip` (RFC 4254 §7.2) with the address of the request, verbatim. Rejects with `ChannelOpenError`. */
  openForwarded(forward: ForwardRequest, origin: { address: string; port: number }): Promise<SshChannel>
  /** `keepalive@openssh.com` with want_reply; any answer moves `lastHeardAt`. Cheap; no timer of its own. */
  ping(): void
  /** SSH_MSG_DISCONNECT with the text (RFC 4253 §11.1), then the socket is closed, at the latest after 1 s destroyed. */
  disconnect(text: string): void
  /** The socket is destroyed now; `onClose` follows within this or the next tick. */
  destroy(): void
}

export interface SshChannel {
  /**
   * Joins the channel and a socket (opened with `allowHalfOpen: true`) until both directions ended: back-pressure both ways,
   * half-close passed on after the data is drained, no window abuse. Resolves once, never rejects.
   */
  pump(socket: Socket): Promise<VisitEnd>
  /** The same between two channels, e.g. a user's `direct-tcpip` and a device's `forwarded-tcpip`; the counts are this channel's. */
  join(other: SshChannel): Promise<VisitEnd>
  /** Closes at once in both directions. */
  destroy(): void
  /** Tells the other end of a `visit@sshoal` why it is about to be closed. */
  tellWhy(reason: string): void
  /** What the other end told so. */
  readonly toldWhy: string | undefined
}

export interface VisitEnd {
  /** Bytes from the socket to the channel. */
  bytesToChannel: number
  /** Bytes from the channel to the socket. */
  bytesFromChannel: number
  reason: 'finished' | 'socket-error' | 'channel-closed' | 'destroyed'
}

export interface SshServerOptions {
  /** Private keys in OpenSSH or PEM form; each key object is parsed once. */
  hostKeys: string[]
  algorithms: 'modern' | 'compatible'
  /** Shown in the identification string after `SSH-2.0-`, e.g. `sshoal_0.1.0`. */
  software: string
  /** Keys and signatures tried per connection before it is ended (MaxAuthTries). Default 6. */
  maxAuthTries?: number
  /** Unsent bytes after which a connection that does not read is cut. Default 8 MiB; before login 256 KiB. */
  maxUnsentBytes?: number
  /** Bytes in both directions after which the server exchanges keys again. Default 1 GiB. */
  rekeyBytes?: number
  /** In which clients that are not logged in yet are served; whoever listens tells it of arrivals and their sources. */
  turns?: FairTurns
}

export interface SshServer {
  /** Takes over a connected socket. `head`: bytes that were already read from it. */
  accept(socket: Socket, handlers: SshConnectionHandlers, head?: Buffer): SshConnection
  /** Replaces the host keys for connections that come from now on. */
  setHostKeys(hostKeys: string[]): void
}
