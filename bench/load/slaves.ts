// Simulated slaves, hundreds in one process, on the real protocol: the Wire of @sshoal/shared. Their tunnels are made up
// from numbers when they are told. Commands come over IPC, one at a time; each is answered when it is done.
import { createHash, generateKeyPairSync, sign } from 'node:crypto'

import {
  linkProof,
  masterSpeech,
  PROTOCOL,
  silentLog,
  slaveSpeech,
  SNAPSHOT_TUNNELS,
  SUBPROTOCOL,
  Wire,
  type MasterRequestHandlers,
  type SlaveWire,
  type Tunnel,
} from '@sshoal/shared'
import { WebSocket } from 'ws'

export type SlavesCommand =
  | { type: 'join'; url: string; token: string; slaves: number; tunnels: number }
  /** Each slave holds so many from now on; told as changes. */
  | { type: 'grow'; tunnels: number }
  /** One slave after another drops its link and comes back. */
  | { type: 'again'; slaves: number }
  /** Waits until all are welcome again after a loss. */
  | { type: 'back' }
  /** Ends and begins so many tunnels a second altogether. */
  | { type: 'churn'; changes: number; seconds: number }

export interface SlavesAnswer {
  /** Seconds from the start to the last welcome. */
  seconds: number
  /** ms from hello to welcome. */
  took: number[]
  /** Links that the liveness check ended so far. */
  silent: number
  changes: number
}

const field = (value: Buffer | string): Buffer => {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
const TYPE = 'ssh-ed25519'
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const HOST_KEY = Buffer.concat([
  field(TYPE),
  field(Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')),
]).toString('base64')

const EPOCH = Date.now() * 1_000
/** What the liveness check of the link closes with when nothing was heard (close-codes.ts), and what TCP leaves behind. */
let silent = 0
let told = 0

function tunnel(slave: number, number: number, epoch: number): Tunnel {
  const print = createHash('md5').update(`${slave}/${number}`).digest('hex')
  return {
    project: 'default',
    device: `device-${slave}-${number}`,
    epoch,
    fingerprint: `SHA256:${print}ABCDEFGHIJK`,
    remoteAddress: `10.${slave & 255}.${(number >> 8) & 255}.${number & 255}`,
    connectedAt: Date.now(),
    forwards: [{ kind: 'bound', bindAddress: 'localhost', bindPort: 0, port: 20_000 + number }],
  }
}

class Slave {
  readonly number: number
  readonly #url: string
  readonly #token: string
  tunnels: number
  welcome = false
  took = 0
  #helloAt = 0
  wire: SlaveWire | undefined
  #attempt = 0
  /** Tunnels whose epoch is no longer the first one. */
  readonly epochs = new Map<number, number>()

  constructor(number: number, url: string, token: string, tunnels: number) {
    this.number = number
    this.#url = url
    this.#token = token
    this.tunnels = tunnels
    this.#dial()
  }

  #dial(): void {
    const socket = new WebSocket(`${this.#url.replace(/^http/, 'ws')}/slaves`, SUBPROTOCOL, {
      headers: { authorization: `Bearer ${this.#token}` },
      handshakeTimeout: 20_000,
      perMessageDeflate: false,
    })
    const wire: SlaveWire = new Wire({
      socket,
      sends: slaveSpeech,
      receives: masterSpeech,
      onNotice: {
        challenge: ({ nonce }: { nonce: string }) => this.#hello(wire, nonce),
        welcome: () => {
          this.took = performance.now() - this.#helloAt
          this.welcome = true
          this.#attempt = 0
        },
        fixedPorts: () => {},
      },
      onRequest: {
        cut: () => Promise.resolve({ cut: false }),
        yield: () => Promise.resolve({ cut: true, contested: false }),
        probe: () => Promise.resolve({ alive: true }),
        invalidate: () => Promise.resolve({ cut: 0 }),
        drain: () => Promise.resolve({ tunnels: 0 }),
      } satisfies Partial<MasterRequestHandlers> as unknown as MasterRequestHandlers,
      onClose: ({ reason }) => {
        if (reason === 'terminated') silent++
        this.welcome = false
        this.wire = undefined
        const most = Math.min(5_000, 200 * 2 ** this.#attempt++)
        setTimeout(() => this.#dial(), most / 2 + Math.random() * (most / 2))
      },
      log: silentLog(),
    })
    this.wire = wire
  }

  #hello(wire: SlaveWire, nonce: string): void {
    const id = `slave-${String(this.number).padStart(4, '0')}`
    this.#helloAt = performance.now()
    const signature = Buffer.concat([field(TYPE), field(sign(null, linkProof(nonce, id), privateKey))])
    wire.send('hello', {
      protocol: PROTOCOL,
      id,
      instance: `instance-${this.number}`,
      version: 'bench',
      publicHost: `slave-${this.number}.example`,
      publicPort: 2_222,
      sshPorts: [2_222],
      forwardAddress: '127.0.0.1',
      forwardPorts: { first: 20_000, last: 25_000 },
      capacity: 10_000,
      uptimeSeconds: 1,
      draining: false,
      addresses: [],
      hostKeys: [{ algorithm: TYPE, publicKey: HOST_KEY }],
      signature: signature.toString('base64'),
      tunnels: this.tunnels,
    })
    for (let first = 0; first === 0 || first < this.tunnels; first += SNAPSHOT_TUNNELS) {
      const length = Math.min(SNAPSHOT_TUNNELS, this.tunnels - first)
      const tunnels = Array.from({ length }, (_, i) => this.#tunnel(first + i))
      wire.send('snapshot', { tunnels, last: first + SNAPSHOT_TUNNELS >= this.tunnels })
    }
  }

  #tunnel(number: number): Tunnel {
    return tunnel(this.number, number, this.epochs.get(number) ?? EPOCH)
  }

  grow(tunnels: number): void {
    for (; this.tunnels < tunnels; this.tunnels++) this.wire?.send('tunnel.up', this.#tunnel(this.tunnels))
  }

  /** The link is dropped without a good-bye. */
  drop(): void {
    this.welcome = false
    this.wire?.close(1001, 'again')
  }

  /** Two changes: a tunnel ends and begins again. */
  change(number: number): void {
    const old = this.#tunnel(number)
    const { project, device, epoch } = old
    this.wire?.send('tunnel.down', { project, device, epoch, reason: 'churn' })
    this.epochs.set(number, epoch + 1)
    this.wire?.send('tunnel.up', this.#tunnel(number))
    told += 2
  }
}

const slaves: Slave[] = []
const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms))

async function welcomed(some: Slave[], deadlineMs = 240_000): Promise<void> {
  const end = performance.now() + deadlineMs
  while (!some.every(({ welcome }) => welcome)) {
    if (performance.now() > end) throw new Error('not all slaves were welcomed')
    await pause(5)
  }
}

async function run(command: SlavesCommand): Promise<Partial<SlavesAnswer>> {
  switch (command.type) {
    case 'join': {
      const from = slaves.length
      for (let number = from; number < from + command.slaves; number++)
        slaves.push(new Slave(number, command.url, command.token, command.tunnels))
      await welcomed(slaves)
      return { took: slaves.map(({ took }) => took) }
    }
    case 'grow': {
      for (const slave of slaves) {
        slave.grow(command.tunnels)
        await pause(2)
      }
      return {}
    }
    case 'again': {
      const took = []
      for (const slave of slaves.slice(0, command.slaves)) {
        slave.drop()
        await welcomed([slave])
        took.push(slave.took)
        await pause(50)
      }
      return { took }
    }
    case 'back': {
      await welcomed(slaves)
      return { took: slaves.map(({ took }) => took) }
    }
    case 'churn': {
      told = 0
      const startedAt = performance.now()
      for (let turn = 0; performance.now() - startedAt < command.seconds * 1_000; turn++) {
        while (told < ((performance.now() - startedAt) / 1_000) * command.changes) {
          const slave = slaves[(told / 2) % slaves.length]
          slave?.change(Math.floor(told / 2 / slaves.length) % slave.tunnels)
        }
        await pause(5)
      }
      return { changes: told }
    }
  }
}

process.on('message', (command: SlavesCommand) => {
  const startedAt = performance.now()
  run(command).then(
    (answer) => {
      const seconds = (performance.now() - startedAt) / 1_000
      process.send?.({ took: [], changes: 0, ...answer, seconds, silent })
    },
    (error: unknown) => process.send?.({ error: String(error) }),
  )
})
process.send?.({ ready: true })
