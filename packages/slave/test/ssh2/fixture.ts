// One in-process server and ssh2's own client, or a client that speaks raw packets, against it.
import { generateKeyPairSync, getDiffieHellman } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

import { message, string, WireReader } from '@sshoal/shared/ssh-wire'
import ssh2 from 'ssh2'
import type { Client, ConnectConfig } from 'ssh2'

import { createSshServer, generateHostKey } from '../../src/ssh2/index.ts'
import type {
  KeyOffer,
  SshConnection,
  SshConnectionHandlers,
  SshEndError,
  SshServerOptions,
  VisitEnd,
} from '../../src/ssh2/index.ts'

export const hostKey = generateHostKey('ed25519')
export const loginKey = generateHostKey('ed25519')

export interface Visitor {
  connection: SshConnection
  offers: KeyOffer[]
  ready: Promise<void>
  closed: Promise<SshEndError | undefined>
  closeCalls: number
}

export interface Fixture {
  port: number
  visitors: Visitor[]
  next(): Promise<Visitor>
  connect(config?: ConnectConfig): Promise<Client>
  close(): Promise<void>
}

export async function startServer(
  handlers: Partial<SshConnectionHandlers> = {},
  options: Partial<SshServerOptions> = {},
): Promise<Fixture> {
  const server = createSshServer({
    hostKeys: [hostKey],
    algorithms: 'modern',
    software: 'sshoal_test',
    ...options,
  })
  const visitors: Visitor[] = []
  const waiting: Array<(visitor: Visitor) => void> = []
  const clients: Client[] = []
  const sockets = new Set<Socket>()
  const listener = net.createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    let onReady = (): void => {}
    let onClosed = (_error: SshEndError | undefined): void => {}
    const visitor: Visitor = {
      connection: undefined as unknown as SshConnection,
      offers: [],
      ready: new Promise((resolve) => (onReady = resolve)),
      closed: new Promise((resolve) => (onClosed = resolve)),
      closeCalls: 0,
    }
    visitor.connection = server.accept(socket, {
      onBadSignature: () => {},
      onForward: async () => null,
      onCancelForward: async () => false,
      onDirect: async () => ({ outcome: 'refuse', text: 'refused' }),
      onShell: async () => undefined,
      ...handlers,
      authenticate: async (offer) => {
        visitor.offers.push(offer)
        return handlers.authenticate === undefined ? { outcome: 'accept' } : handlers.authenticate(offer)
      },
      onReady: (offer) => {
        handlers.onReady?.(offer)
        onReady()
      },
      onClose: (error) => {
        visitor.closeCalls += 1
        handlers.onClose?.(error)
        onClosed(error)
      },
    })
    visitors.push(visitor)
    waiting.shift()?.(visitor)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  return {
    port,
    visitors,
    next: () => new Promise((resolve) => waiting.push(resolve)),
    async connect(config = {}) {
      const client = new ssh2.Client()
      clients.push(client)
      client.on('error', () => {})
      await new Promise<void>((resolve, reject) => {
        client.once('ready', () => resolve(void client.setNoDelay(true)))
        client.once('error', reject)
        client.once('close', () => reject(new Error('closed before ready')))
        client.connect({ host: '127.0.0.1', port, username: 'u', privateKey: loginKey, ...config })
      })
      return client
    },
    async close() {
      for (const client of clients) client.destroy()
      for (const socket of sockets) socket.destroy()
      listener.close()
      await once(listener, 'close')
    },
  }
}

interface RawProtocol {
  _packetRW: {
    write: { allocStart: number; alloc(length: number): Buffer; finalize(packet: Buffer): Buffer }
  }
  _cipher: { encrypt(packet: Buffer): void }
  _onPayload(payload: Buffer): unknown
  _decipher: { _onPayload(payload: Buffer): unknown }
}

function protocolOf(client: Client): RawProtocol {
  return (client as unknown as { _protocol: RawProtocol })._protocol
}

/** A packet as it is before keys are in use (RFC 4253 §6). */
export function packet(payload: Buffer): Buffer {
  let padding = 8 - ((5 + payload.length) % 8)
  if (padding < 4) padding += 8
  const head = Buffer.alloc(5)
  head.writeUInt32BE(1 + payload.length + padding)
  head[4] = padding
  return Buffer.concat([head, payload, Buffer.alloc(padding)])
}

/** A client's KEXINIT that offers these. */
export function kexInit(
  kex: string[],
  guess = false,
  hostKeys = 'ssh-ed25519',
  cipher = 'aes128-ctr',
): Buffer {
  const mac = 'hmac-sha2-256-etm@openssh.com'
  const lists = [kex.join(','), hostKeys, cipher, cipher, mac, mac, 'none', 'none', '', '']
  return packet(
    Buffer.concat([
      Buffer.of(20),
      Buffer.alloc(16),
      ...lists.map((list) => string(list)),
      Buffer.of(guess ? 1 : 0, 0, 0, 0, 0),
    ]),
  )
}

/** A client's half of curve25519-sha256. */
export function kexDhInit(): Buffer {
  const { publicKey } = generateKeyPairSync('x25519')
  return packet(message(30, Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url')))
}

/** A client's half of diffie-hellman-group18-sha512, the dearest that a server can be asked for. */
export function kexGroup18Init(): Buffer {
  return packet(message(30, getDiffieHellman('modp18').generateKeys()))
}

/** Sends a payload of our own making through a client's cipher. */
export function sendRaw(client: Client, payload: Buffer): void {
  const protocol = protocolOf(client)
  const writer = protocol._packetRW.write
  const packet = writer.alloc(payload.length)
  packet.set(payload, writer.allocStart)
  protocol._cipher.encrypt(writer.finalize(packet))
}

/** Calls back with every payload that a client gets from now on; true keeps it from the client. */
export function tap(client: Client, listener: (payload: Buffer) => boolean | void): void {
  const decipher = protocolOf(client)._decipher
  const rest = decipher._onPayload.bind(decipher)
  decipher._onPayload = (payload) => (listener(payload) === true ? undefined : rest(payload))
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean, what = 'a condition'): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what} did not come true`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export async function readAll(socket: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(socket, 'end')
  return Buffer.concat(chunks)
}

/** Two ends of one loopback connection. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const listener = net.createServer({ allowHalfOpen: true })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const near = net.connect({
    host: '127.0.0.1',
    port: (listener.address() as AddressInfo).port,
    allowHalfOpen: true,
  })
  const [far] = (await once(listener, 'connection')) as [Socket]
  if (near.connecting) await once(near, 'connect')
  listener.close()
  for (const socket of [near, far]) socket.on('error', () => {})
  return [near, far]
}

export const FORWARD = { bindAddress: '', bindPort: 4000 }
export const ORIGIN = { address: '127.0.0.1', port: 1 }

/** A visit to the first who connected. */
export async function openVisit(
  fixture: Fixture,
): Promise<{ visitor: Socket; end: Promise<VisitEnd>; near: Socket }> {
  const [visitor, near] = await socketPair()
  const channel = await fixture.visitors[0]!.connection.openForwarded(FORWARD, ORIGIN)
  return { visitor, end: channel.pump(near), near }
}

/** A device made of raw packets: opens every visit with the window it is given and echoes nothing by itself. */
export async function startRawDevice(
  fixture: Fixture,
  window: number,
  onPacket: (client: Client, payload: Buffer) => void,
): Promise<Client> {
  const client = await fixture.connect()
  tap(client, (payload) => {
    const fields = new WireReader(payload, 1)
    if (payload[0] === 90) {
      fields.text()
      const id = fields.uint32()
      sendRaw(client, message(91, id, id, window, 32768))
    } else {
      onPacket(client, payload)
    }
    return true
  })
  return client
}

/** What is in use, after what is not was collected where it can be. */
export function memory(): number {
  ;(globalThis as { gc?: () => void }).gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
