// A live cluster without a store, slaves that are only records, and slaves that speak over a real WebSocket.
import { createPublicKey, generateKeyPairSync, randomUUID, sign, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

import {
  linkProof,
  masterSpeech,
  PROTOCOL,
  silentLog,
  slaveSpeech,
  SUBPROTOCOL,
  Wire,
  type FixedPort,
  type Forward,
  type Hello,
  type MasterNoticeHandlers,
  type MasterRequestHandlers,
  type MasterWire,
  type SlaveWire,
  type Tunnel,
} from '@sshoal/shared'
import { string } from '@sshoal/shared/ssh-wire'
import { vi } from 'vitest'
import { WebSocket } from 'ws'

import type { LiveClusterDeps } from '../../src/cluster/cluster-deps.ts'
import { LinkServer } from '../../src/cluster/link-server.ts'
import { LiveCluster } from '../../src/cluster/live-cluster.ts'
import { SlaveRecord } from '../../src/cluster/slave-record.ts'
import { dataOf } from '../../src/events/events.ts'

export interface TestEvent {
  type: string
  data: Record<string, unknown>
}

export interface TestCluster {
  cluster: LiveCluster
  events: TestEvent[]
  sightings: string[]
  refusals: { code: string }[]
  /** Of one type, newest last. */
  eventsOf(type: string): Record<string, unknown>[]
}

/** What other masters would say and hear: there are none. */
const alone = {
  feed: {
    start: () => Promise.resolve(),
    publish: () => {},
    reserve: () => undefined,
    request: () => Promise.reject(new Error('no other master')),
    nowMicros: () => Date.now() * 1_000,
    others: () => [],
    close: () => Promise.resolve(),
  },
}

export function makeCluster(deps: Partial<LiveClusterDeps> = {}): TestCluster {
  const events: TestEvent[] = []
  const sightings: string[] = []
  const refusals: { code: string }[] = []
  let number = 7
  const cluster = new LiveCluster({
    master: { id: 'm1', version: '0.1.0' },
    slaveGraceMs: 3_000,
    regionFallback: new Map(),
    publish: (type, data) => events.push({ type, data: dataOf(data) as Record<string, unknown> }),
    saw: (holder, sighting) => sightings.push(`${holder.device}: ${sighting.why}`),
    refused: (refusal) => refusals.push(refusal),
    ask: () => Promise.resolve({ outcome: 'outage', reason: 'no hook' }),
    fixedPorts: () => Promise.resolve([]),
    announce: (type, data) => events.push({ type, data: data as Record<string, unknown> }),
    revoked: () => {},
    store: {
      id: 'store-1',
      state: 'ok',
      nextInvalidation: () => Promise.resolve(++number),
      lastInvalidation: () => Promise.resolve(number),
    },
    lastInvalidation: 7,
    log: silentLog(),
    ...alone,
    ...deps,
  })
  const eventsOf = (type: string) => events.filter((event) => event.type === type).map(({ data }) => data)
  return { cluster, events, sightings, refusals, eventsOf }
}

export function hello(id: string, more: Partial<Hello> = {}): Hello {
  return {
    protocol: PROTOCOL,
    id,
    instance: `process of ${id}`,
    version: '0.1.0',
    publicHost: `${id}.example`,
    publicPort: 2_222,
    sshPorts: [2_222],
    forwardAddress: '127.0.0.1',
    forwardPorts: { first: 20_000, last: 25_000 },
    capacity: 100,
    uptimeSeconds: 0,
    draining: false,
    addresses: [],
    hostKeys: [{ algorithm: 'ssh-ed25519', publicKey: '' }],
    signature: '',
    tunnels: 0,
    ...more,
  }
}

export const bound = (port: number): Forward => ({ kind: 'bound', bindAddress: '', bindPort: 0, port })

export function tunnel(device: string, epoch: number, more: Partial<Tunnel> = {}): Tunnel {
  return {
    project: 'default',
    device,
    epoch,
    fingerprint: `SHA256:${device}`,
    remoteAddress: '192.0.2.1',
    connectedAt: 1_700_000_000_000,
    forwards: [bound(20_001)],
    ...more,
  }
}

/** What a master asked of a slave, and what the slave shall answer. */
export interface FakeWire {
  wire: MasterWire
  asked: [string, Record<string, unknown>][]
  sent: [string, unknown][]
}

export function fakeWire(answers: Record<string, unknown> = {}): FakeWire {
  const asked: [string, Record<string, unknown>][] = []
  const sent: [string, unknown][] = []
  const given: Record<string, unknown> = {
    cut: { cut: true },
    yield: { cut: true, contested: false },
    probe: { alive: false },
    invalidate: { cut: 0 },
    drain: { tunnels: 0 },
    ...answers,
  }
  const wire = {
    open: true,
    send: (type: string, body: unknown) => void sent.push([type, body]),
    request: (type: string, question: Record<string, unknown>) => {
      asked.push([type, question])
      const answer = given[type]
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
    },
  }
  return { wire: wire as unknown as MasterWire, asked, sent }
}

export interface TestSlave extends FakeWire {
  record: SlaveRecord
}

/** A slave that has joined over a wire that is none. */
export function joinSlave(
  { cluster }: TestCluster,
  id: string,
  more: Partial<Hello> = {},
  answers: Record<string, unknown> = {},
): TestSlave {
  const fake = fakeWire(answers)
  const record = new SlaveRecord(hello(id, more), `link of ${id}`, fake.wire, '198.51.100.9')
  cluster.roster.joined(record)
  return { ...fake, record }
}

export interface HostKey {
  publicKey: string
  privateKey: KeyObject
}

export function makeHostKey(): HostKey {
  const { privateKey } = generateKeyPairSync('ed25519')
  const x = Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '', 'base64url')
  const publicKey = Buffer.concat([string('ssh-ed25519'), string(x)]).toString('base64')
  return { publicKey, privateKey }
}

export interface MasterEnd extends TestCluster {
  links: LinkServer
  url: string
  server: Server
  close(): Promise<void>
}

/** A master that lets in who knows the word `good` (token `t-good`) or `other` (`t-other`). */
export async function startMasterEnd(deps: Partial<LiveClusterDeps> = {}): Promise<MasterEnd> {
  const test = makeCluster(deps)
  const links = new LinkServer({
    cluster: test.cluster,
    authenticate: (bearer) => {
      if (bearer === 'broken') return Promise.reject(new Error('no store'))
      return Promise.resolve(['good', 'other'].includes(bearer) ? `t-${bearer}` : undefined)
    },
    addressOf: (request) => request.socket.remoteAddress ?? '',
  })
  const server = createServer()
  server.on('upgrade', (request, socket, head) => links.upgrade(request, socket, head))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    ...test,
    links,
    server,
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/slaves`,
    close: async () => {
      test.cluster.close()
      links.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export interface SlaveScript {
  hostKey?: HostKey
  token?: string
  subprotocol?: string
  hello?: Partial<Hello>
  tunnels?: Tunnel[]
  /** Called with the nonce instead of greeting as one should. */
  onChallenge?(slave: SlaveEnd, nonce: string): void
  requests?: Partial<MasterRequestHandlers>
  fixedPorts?: (list: FixedPort[]) => void
}

export type Welcome = Parameters<MasterNoticeHandlers['welcome']>[0]

export interface SlaveEnd {
  id: string
  wire: SlaveWire
  socket: WebSocket
  welcomes: Welcome[]
  asked: [string, Record<string, unknown>][]
  ends: { code: number; reason: string }[]
  greet(nonce: string): void
  /** Closes as a slave that stops on purpose. */
  bye(): void
}

/** The slave's end of a link, which says what the script says. */
export function openSlaveEnd(url: string, id: string, script: SlaveScript = {}): SlaveEnd {
  const hostKey = script.hostKey ?? makeHostKey()
  const welcomes: Welcome[] = []
  const asked: SlaveEnd['asked'] = []
  const ends: SlaveEnd['ends'] = []
  const socket = new WebSocket(url, script.subprotocol ?? SUBPROTOCOL, {
    headers: { authorization: `Bearer ${script.token ?? 'good'}` },
  })
  const noted =
    <A>(type: string, answer: A) =>
    (question: object): Promise<A> => {
      asked.push([type, question as Record<string, unknown>])
      return Promise.resolve(answer)
    }
  const wire: SlaveWire = new Wire({
    socket,
    sends: slaveSpeech,
    receives: masterSpeech,
    onNotice: {
      challenge: ({ nonce }) => {
        if (script.onChallenge) script.onChallenge(end, nonce)
        else end.greet(nonce)
      },
      welcome: (welcome) => void welcomes.push(welcome),
      fixedPorts: ({ fixedPorts }) => script.fixedPorts?.(fixedPorts),
    },
    onRequest: {
      cut: noted('cut', { cut: true }),
      yield: noted('yield', { cut: true, contested: false }),
      probe: noted('probe', { alive: true }),
      invalidate: noted('invalidate', { cut: 0 }),
      lease: noted('lease', { outcome: 'granted', port: 20_000 } as const),
      unlease: noted('unlease', { cut: false }),
      drain: noted('drain', { tunnels: 0 }),
      ...script.requests,
    },
    onClose: (gone) => ends.push(gone),
    log: silentLog(),
  })
  const end: SlaveEnd = {
    id,
    wire,
    socket,
    welcomes,
    asked,
    ends,
    greet: (nonce) => {
      const tunnels = script.tunnels ?? []
      wire.send('hello', signedHello(id, hostKey, nonce, { tunnels: tunnels.length, ...script.hello }))
      wire.send('snapshot', { tunnels, last: true })
    },
    bye: () => {
      wire.send('bye', { reason: 'stopped' })
      wire.close(1001, 'stopped')
    },
  }
  return end
}

export function signedHello(id: string, hostKey: HostKey, nonce: string, more: Partial<Hello> = {}): Hello {
  const signature = sign(null, linkProof(nonce, id), hostKey.privateKey)
  return hello(id, {
    instance: randomUUID(),
    hostKeys: [{ algorithm: 'ssh-ed25519', publicKey: hostKey.publicKey }],
    signature: Buffer.concat([string('ssh-ed25519'), string(signature)]).toString('base64'),
    ...more,
  })
}

/** Waits until `fact` holds. */
export function until(fact: () => boolean, timeout = 5_000): Promise<void> {
  return vi.waitFor(
    () => {
      if (!fact()) throw new Error(`not yet: ${fact.toString()}`)
    },
    { timeout, interval: 5 },
  )
}
