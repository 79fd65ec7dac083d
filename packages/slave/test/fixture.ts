// Tunnels, connections and a master that are only as real as a test of one room needs them.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import {
  masterSpeech,
  silentLog,
  slaveSpeech,
  Wire,
  type Hello,
  type MasterWire,
  type OwnQuestion,
  type PeerQuestion,
  type ReachAnswer,
  type ReachQuestion,
  type Tunnel,
  type VisitAnswer,
  type VisitQuestion,
  type VisitReport,
  type WhoAnswer,
  type WhoQuestion,
} from '@sshoal/shared'
import { vi } from 'vitest'
import { WebSocketServer, type WebSocket } from 'ws'

import { SlaveMetrics } from '../src/metrics.ts'
import type { SshConnection } from '../src/ssh2/index.ts'
import { LiveTunnel } from '../src/tunnel.ts'
import { Tunnels } from '../src/tunnels.ts'
import { Visits } from '../src/visits.ts'

export const log = silentLog()

export interface FakeSsh {
  ssh: SshConnection
  /** What the client read before it was cut. */
  told: string[]
}

/** An SSH connection that answers keepalives (or does not) and remembers its farewell. */
export function fakeSsh(answers = true): FakeSsh {
  const told: string[] = []
  const ssh = {
    socket: { destroyed: false },
    lastHeardAt: 0,
    ping: () => {
      if (answers) ssh.lastHeardAt = performance.now() + 1
    },
    disconnect: (text: string) => {
      told.push(text)
      ssh.socket.destroyed = true
    },
    destroy: () => {
      ssh.socket.destroyed = true
    },
    openForwarded: () => Promise.reject(new Error('nobody there')),
  }
  return { ssh: ssh as unknown as SshConnection, told }
}

export interface TestTunnel extends FakeSsh {
  tunnel: LiveTunnel
}

export function makeTunnel(device: string, epoch = 1, metrics = new SlaveMetrics()): TestTunnel {
  const fake = fakeSsh()
  const tunnel = new LiveTunnel({
    holder: { project: 'default', device },
    epoch,
    fingerprint: `SHA256:${device}`,
    remoteAddress: '192.0.2.1',
    details: undefined,
    connection: fake.ssh,
    visits: new Visits(10, metrics, log),
  })
  return { ...fake, tunnel }
}

export interface TestTunnels {
  tunnels: Tunnels
  metrics: SlaveMetrics
  /** What the master was told. */
  sent: [string, Record<string, unknown>][]
}

export function makeTunnels(): TestTunnels {
  const metrics = new SlaveMetrics()
  const tunnels = new Tunnels(metrics, log)
  const sent: TestTunnels['sent'] = []
  tunnels.tell({ send: (type, body) => void sent.push([type, body]) })
  return { tunnels, metrics, sent }
}

/** One link as the scripted master sees it. */
export interface MasterEnd {
  wire: MasterWire
  socket: WebSocket
  token: string | undefined
  said: [string, unknown][]
  welcome(more?: object): void
}

/** What the master says; it may be changed while it runs. */
export interface MasterScript {
  challenges?: boolean
  welcomes?: boolean
  status?: number
  who?(question: WhoQuestion): WhoAnswer
  visit?(question: VisitQuestion, asker: MasterEnd): VisitAnswer | Promise<VisitAnswer>
  reach?(question: ReachQuestion): ReachAnswer
  peer?(question: PeerQuestion): boolean
  own?(question: OwnQuestion): string[]
  /** False: not written down. */
  visited?(reports: VisitReport[]): boolean | Promise<boolean>
}

export interface ScriptedMaster {
  url: string
  links: MasterEnd[]
  close(): Promise<void>
}

/** A master that welcomes each slave after its snapshot, unless told otherwise. */
export async function startScriptedMaster(script: MasterScript = {}): Promise<ScriptedMaster> {
  const server = createServer()
  const sockets = new WebSocketServer({ noServer: true })
  const links: MasterEnd[] = []
  server.on('upgrade', (request, socket, head) => {
    if (script.status !== undefined) {
      socket.end(`HTTP/1.1 ${script.status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
      return
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const said: MasterEnd['said'] = []
      const noted = (type: string) => (body: unknown) => void said.push([type, body])
      const wire: MasterWire = new Wire({
        socket: webSocket,
        sends: masterSpeech,
        receives: slaveSpeech,
        onNotice: {
          hello: noted('hello'),
          snapshot: (chunk) => {
            said.push(['snapshot', chunk])
            if (chunk.last && script.welcomes !== false) end.welcome()
          },
          'tunnel.up': noted('tunnel.up'),
          'tunnel.changed': noted('tunnel.changed'),
          'tunnel.down': noted('tunnel.down'),
          refused: noted('refused'),
          contested: noted('contested'),
          status: noted('status'),
          draining: noted('draining'),
          bye: noted('bye'),
        },
        onRequest: {
          who: (question) =>
            Promise.resolve(script.who?.(question) ?? { outcome: 'outage', reason: 'no hook' }),
          admit: () => Promise.resolve({ outcome: 'admitted', epoch: 42 }),
          visit: async (question) =>
            (await script.visit?.(question, end)) ?? {
              outcome: 'refused',
              code: 'UNKNOWN_TARGET',
              reason: 'no such target',
            },
          reach: (question) => Promise.resolve(script.reach?.(question) ?? { targets: [], total: 0 }),
          peer: (question) => Promise.resolve({ known: script.peer?.(question) ?? false }),
          visited: async ({ reports }) => {
            if (script.visited && !(await script.visited(reports))) throw new Error('not now')
            for (const report of reports) said.push(['visit', report])
            return {}
          },
          own: (question) => Promise.resolve({ own: script.own?.(question) ?? [] }),
        },
        onClose: () => {},
        log,
      })
      const end: MasterEnd = {
        wire,
        socket: webSocket,
        token: request.headers.authorization,
        said,
        welcome: (more = {}) =>
          wire.send('welcome', {
            link: `link ${links.length}`,
            nowMicros: Date.now() * 1_000,
            seenAddress: '127.0.0.1',
            invalidation: { store: 'store-1', number: 1 },
            fixedPorts: [],
            lost: [],
            ...more,
          }),
      }
      links.push(end)
      if (script.challenges !== false) wire.send('challenge', { nonce: 'n'.repeat(43), master: 'm1' })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    links,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      for (const { wire } of links) wire.terminate()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export function helloFacts(): Omit<Hello, 'protocol' | 'signature' | 'tunnels'> {
  return {
    id: 's1',
    instance: 'process',
    version: '0.1.0',
    publicPort: 2_222,
    sshPorts: [2_222],
    forwardAddress: '127.0.0.1',
    forwardPorts: { first: 20_000, last: 25_000 },
    capacity: 10,
    uptimeSeconds: 1,
    draining: false,
    addresses: [],
    hostKeys: [{ algorithm: 'ssh-ed25519', publicKey: 'AAAA' }],
  }
}

export function wireTunnel(device: string, epoch = 1): Tunnel {
  return {
    project: 'default',
    device,
    epoch,
    fingerprint: '',
    remoteAddress: '',
    connectedAt: 1,
    forwards: [],
  }
}

/** Waits until `fact` holds. */
export function until(fact: () => boolean | Promise<boolean>, timeout = 5_000): Promise<void> {
  return vi.waitFor(
    async () => {
      if (!(await fact())) throw new Error(`not yet: ${fact.toString()}`)
    },
    { timeout, interval: 5 },
  )
}
