// The only file that loads ssh2. Owns the check that the installed ssh2 is the one whose insides we know, and the
// types of those insides. We build on its transport (`Protocol`: identification, key exchange, ciphers) and on nothing
// above it: its Server, Client, Channel and authentication contexts carry most of the facts in ssh2-notes.
import { createRequire } from 'node:module'

const SUPPORTED_VERSION = '1.17.0'
const load = createRequire(import.meta.url)

/** ssh2 is missing, another version, or not shaped as we know it. */
export class LibraryError extends Error {
  readonly code = 'SSH2_UNSUPPORTED'
}

interface NameList {
  array: string[]
}

interface DirectionLists {
  cipher: NameList
  mac: NameList
  compress: NameList
}

/** A name-list of each category, in our order of preference (RFC 4253 §7.1). */
export interface Offer {
  lists: { kex: NameList; serverHostKey: NameList; cs: DirectionLists; sc: DirectionLists }
}

export interface OfferLists {
  kex: string[]
  serverHostKey: string[]
  cs: { cipher: string[]; mac: string[]; compress: string[]; lang: string[] }
  sc: { cipher: string[]; mac: string[]; compress: string[]; lang: string[] }
}

/** What ssh2's key exchange asks of a host key; a parsed key of its own is one, ours is another. */
export interface LibraryHostKey {
  readonly type: string
  getPublicSSH(): Buffer
  sign(data: Buffer, hash?: string): Buffer | Error
}

/** One key exchange under way, and afterwards the keeper of the session id. */
export interface KeyExchange {
  sessionID: Buffer | undefined
  negotiated: { kex: string; serverHostKey: string }
  remoteExtInfoEnabled: boolean
  generateKeys(): void
  getPublicKey(): Buffer
  computeSecret(peer: Buffer): Buffer | Error
}

type PayloadHandler = (payload: Buffer) => unknown

export interface Cipher {
  outSeqno: number
  encrypt(packet: Buffer): void
  allocPacket(payloadLength: number): Buffer
}

export interface PacketWriter {
  allocStart: number
  allocStartKEX: number
  alloc(payloadLength: number, duringKeyExchange?: boolean): Buffer
  finalize(packet: Buffer, duringKeyExchange?: boolean): Buffer
}

export interface Protocol {
  /** Set while a key exchange is under way: from our KEXINIT until the peer's NEWKEYS. */
  _kexinit: Buffer | undefined
  _kex: KeyExchange | undefined
  _cipher: Cipher
  /** `_tag`: where AES-GCM gathers the end of a packet. */
  _decipher: { inSeqno: number; _onPayload: PayloadHandler; _packet?: Buffer | null; _tag?: Buffer }
  _packetRW: { write: PacketWriter }
  _queue: Buffer[] | undefined
  _skipNextInboundPacket: boolean
  /** Identification strings without line ends, as each exchange hashes them. */
  _identRaw: Buffer
  _remoteIdentRaw: Buffer | undefined
  _onPayload: PayloadHandler
  _onWrite(data: Buffer): void
  /** Sends our identification string; undefined once it has. */
  start: (() => void) | undefined
  parse(chunk: Buffer, from: number, to: number): void
  rekey(): void
  cleanup(): void
}

interface ServerRole {
  server: true
  hostKeys: Record<string, LibraryHostKey>
}

interface ClientRole {
  server: false
  /** False ends the connection. */
  hostVerifier(hostKey: Buffer): boolean
}

export type ProtocolConfig = (ServerRole | ClientRole) & {
  offer: Offer
  onWrite(data: Buffer): void
  onError(error: Error): void
  onHeader(header: { versions: { protocol: string; software: string } }): void
  onHandshakeComplete(): void
  messageHandlers: { DISCONNECT(protocol: Protocol, reason: number, text: string): void }
}

export interface ParsedKey {
  type: string
  comment: string
  getPrivatePEM(): string | null
  getPublicSSH(): Buffer
}

interface Library {
  Protocol: new (config: ProtocolConfig) => Protocol
  KexInit: new (lists: OfferLists) => Offer
  /** Handles a KEXINIT once the first key exchange is over. */
  handleKexInit(protocol: Protocol, payload: Buffer): unknown
  parseKey(key: string): ParsedKey | ParsedKey[] | Error
  /** The poly1305 module of the chacha20 cipher is compiled asynchronously. */
  ready: Promise<void>
  native: boolean
}

function open(path: string): unknown {
  try {
    return load(path)
  } catch (cause) {
    throw new LibraryError(`ssh2 ${SUPPORTED_VERSION} is needed, but ${path} cannot be loaded`, { cause })
  }
}

function openLibrary(): Library {
  const { version } = open('ssh2/package.json') as { version: string }
  if (version !== SUPPORTED_VERSION) {
    throw new LibraryError(`ssh2 ${SUPPORTED_VERSION} is needed, ${version} is installed`)
  }
  const { utils } = open('ssh2') as { utils: Pick<Library, 'parseKey'> }
  const { KexInit } = open('ssh2/lib/protocol/kex.js') as Pick<Library, 'KexInit'>
  const { MESSAGE } = open('ssh2/lib/protocol/constants.js') as { MESSAGE: { KEXINIT: number } }
  const handlers = open('ssh2/lib/protocol/handlers.js') as Array<Library['handleKexInit'] | undefined>
  const crypto = open('ssh2/lib/protocol/crypto.js') as { init: Promise<void>; bindingAvailable: boolean }
  const handleKexInit = handlers[MESSAGE.KEXINIT]
  const Protocol = open('ssh2/lib/protocol/Protocol.js') as Library['Protocol']
  const shapes = {
    Protocol,
    KexInit,
    handleKexInit,
    parseKey: utils.parseKey,
  }
  for (const [name, value] of Object.entries(shapes)) {
    if (typeof value !== 'function') throw new LibraryError(`ssh2 ${version} has no ${name}`)
  }
  const missing = missingInsides(Protocol, KexInit)
  if (missing !== undefined) throw new LibraryError(`ssh2 ${version} is another inside: ${missing}`)
  return {
    Protocol,
    KexInit,
    handleKexInit: handleKexInit as Library['handleKexInit'],
    parseKey: utils.parseKey,
    ready: crypto.init,
    native: crypto.bindingAvailable,
  }
}

const INSIDES = {
  '_decipher._onPayload': 'function',
  '_decipher.inSeqno': 'number',
  '_cipher.encrypt': 'function',
  '_cipher.allocPacket': 'function',
  '_cipher.outSeqno': 'number',
  '_packetRW.write.alloc': 'function',
  '_packetRW.write.finalize': 'function',
  '_packetRW.write.allocStart': 'number',
  '_packetRW.write.allocStartKEX': 'number',
  _identRaw: 'object',
  _onWrite: 'function',
  rekey: 'function',
}

function fieldAt(object: object, path: string): unknown {
  let value: unknown = object
  for (const name of path.split('.')) value = (value as Record<string, unknown> | undefined)?.[name]
  return value
}

/**
 * The private fields that we use, looked at on a connection that leads nowhere: a copy of ssh2 that was patched, bundled or
 * deduplicated to something else keeps its version number. Says which one is not as `Protocol` above has it.
 */
export function missingInsides(
  Protocol: Library['Protocol'],
  KexInit: Library['KexInit'],
): string | undefined {
  const side = { cipher: ['aes128-ctr'], mac: ['hmac-sha2-256'], compress: ['none'], lang: [] }
  const written: Buffer[] = []
  const protocol = new Protocol({
    server: true,
    hostKeys: {},
    offer: new KexInit({ kex: ['curve25519-sha256'], serverHostKey: ['ssh-ed25519'], cs: side, sc: side }),
    onWrite: (data) => void written.push(data),
    onError: () => {},
    onHeader: () => {},
    onHandshakeComplete: () => {},
    messageHandlers: { DISCONNECT: () => {} },
  })
  const fields = ['_kexinit', '_kex', '_queue', '_skipNextInboundPacket', '_onPayload', '_remoteIdentRaw']
  const absent = fields.find((name) => !(name in protocol))
  if (absent !== undefined) return absent
  const hello = Buffer.from('SSH-2.0-check\r\n')
  try {
    protocol.start?.()
    protocol.parse(hello, 0, hello.length)
  } catch (error) {
    return `it cannot begin (${String(error)})`
  }
  const wrong = Object.entries(INSIDES).find(([path, type]) => typeof fieldAt(protocol, path) !== type)
  if (wrong !== undefined) return wrong[0]
  // An identification string, then our KEXINIT, which is what a key exchange under way is told by.
  if (written.length < 2 || !Buffer.isBuffer(protocol._kexinit)) return '_kexinit'
  protocol.cleanup()
  return undefined
}

export const library: Library = openLibrary()

/** Which code encrypts: ssh2's optional native addon, or Node's own crypto where its install script did not run. */
export function cryptoInUse(): 'native' | 'node' {
  return library.native ? 'native' : 'node'
}
