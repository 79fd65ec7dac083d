// Slaves with a gate, one scripted master over them, and people and devices that are ssh2's clients.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import {
  fingerprintOf,
  loadConfig,
  type DeviceRole,
  type Hello,
  type UserRole,
  type VisitAnswer,
  type VisitGrant,
  type VisitQuestion,
  type VisitReport,
} from '@sshoal/shared'
import ssh2, { type Client, type ClientChannel } from 'ssh2'

import { slaveOptions } from '../src/options.ts'
import { generateHostKey, hostKeyPublic } from '../src/ssh2/index.ts'
import { startSlave, type Slave } from '../src/start-slave.ts'
import {
  log,
  startScriptedMaster,
  until,
  type MasterEnd,
  type MasterScript,
  type ScriptedMaster,
} from './fixture.ts'

export interface TestKey {
  privateKey: string
  /** Wire form, base64. */
  publicKey: string
  fingerprint: string
}

export function testKey(): TestKey {
  const privateKey = generateHostKey('ed25519')
  const { publicKey } = hostKeyPublic(privateKey)
  return { privateKey, publicKey: publicKey.toString('base64'), fingerprint: fingerprintOf(publicKey) }
}

export const ada: UserRole = { project: 'default', user: 'u-ada', login: 'ada', keyLabel: 'laptop' }

export interface GateSlave {
  slave: Slave
  master: MasterEnd
  hello: Hello
}

/** What the master of these tests knows and says; each test changes it as it needs. */
export class GateWorld implements AsyncDisposable {
  readonly roles = new Map<string, { user?: UserRole; device?: DeviceRole }>()
  /** What is asked about visits, in order. */
  readonly asked: (VisitQuestion & { by: string })[] = []
  /** Whose device is on which slave. */
  readonly carriers = new Map<string, string>()
  /** Undefined: what `carriers` says is granted. */
  answer: ((question: VisitQuestion, by: string) => VisitAnswer | Promise<VisitAnswer>) | undefined
  readonly script: MasterScript = {
    who: ({ publicKey }) => {
      const roles = this.roles.get(publicKey)
      return roles
        ? { outcome: 'known', identity: roles, cacheMs: 60_000, staleMs: 60_000, addressBound: false }
        : { outcome: 'refused', code: 'KEY_UNKNOWN', reason: 'who is this?' }
    },
    visit: (question, asker) => {
      const by = this.nameOf(asker)
      this.asked.push({ ...question, by })
      return this.answer?.(question, by) ?? this.granted(question)
    },
    peer: ({ publicKey }) =>
      this.slaves.some(({ hello }) => hello.hostKeys.some((hostKey) => hostKey.publicKey === publicKey)),
  }
  master!: ScriptedMaster
  slaves: GateSlave[] = []
  readonly #clients: Client[] = []
  readonly #folders: string[] = []

  static async start(): Promise<GateWorld> {
    const world = new GateWorld()
    world.master = await startScriptedMaster(world.script)
    return world
  }

  async slave(id: string, flags: Record<string, string[]> = {}): Promise<GateSlave> {
    const folder = mkdtempSync(join(tmpdir(), 'sshoal-gate-'))
    this.#folders.push(folder)
    const before = this.master.links.length
    const slave = await startSlave(
      loadConfig(slaveOptions, {
        flags: {
          master: [this.master.url],
          sshListen: ['127.0.0.1:0'],
          statusListen: ['127.0.0.1:0'],
          data: [folder],
          id: [id],
          ...flags,
        },
        env: {},
      }),
      { log },
    )
    await slave.linked
    const master = this.master.links[before]!
    const hello = master.said.find(([type]) => type === 'hello')?.[1] as Hello
    const made = { slave, master, hello }
    this.slaves.push(made)
    return made
  }

  nameOf(end: MasterEnd): string {
    return (end.said.find(([type]) => type === 'hello')?.[1] as Hello | undefined)?.id ?? ''
  }

  /** What the master answers by itself: the device is where `carriers` says. */
  granted(question: VisitQuestion): VisitAnswer {
    const [name = '', forward] = question.target.toLowerCase().split('.').toReversed()
    const slave = this.carriers.get(name)
    if (slave === undefined)
      return {
        outcome: 'refused',
        code: 'UNKNOWN_TARGET',
        reason: `there is no target ${question.target} for you`,
      }
    return this.grant(slave, name, forward === undefined ? {} : { forward })
  }

  grant(slave: string, target: string, more: Partial<VisitGrant> = {}): VisitGrant {
    const relay = this.slaves.find(({ hello }) => hello.id === slave)?.hello
    return {
      outcome: 'granted',
      target,
      grant: 'g1',
      to: { kind: 'device', project: 'default', device: target },
      carrier: {
        slave,
        ...(relay?.relay
          ? {
              relay: {
                host: relay.relay.host ?? '127.0.0.1',
                port: relay.relay.port,
                hostKeys: relay.hostKeys.map(({ publicKey }) => publicKey),
              },
            }
          : {}),
      },
      ...more,
    }
  }

  /** Logs in; the key's roles must be known. */
  async connect(slave: GateSlave, key: TestKey, config: ssh2.ConnectConfig = {}): Promise<Client> {
    const client = new ssh2.Client()
    this.#clients.push(client)
    client.on('error', () => {})
    client.connect({
      host: '127.0.0.1',
      port: slave.slave.sshPorts[0],
      username: 'somebody',
      privateKey: key.privateKey,
      ...config,
    })
    await once(client, 'ready')
    client.setNoDelay(true)
    return client
  }

  async user(
    slave: GateSlave,
    role: UserRole = ada,
    key = testKey(),
  ): Promise<{ client: Client; key: TestKey }> {
    this.roles.set(key.publicKey, { ...this.roles.get(key.publicKey), user: role })
    return { client: await this.connect(slave, key), key }
  }

  /** A device with forwards such as `:22` or `web:80`, and something that answers visits. */
  async device(
    slave: GateSlave,
    name: string,
    forwards: string[] = [':22'],
    serve: (channel: ClientChannel, to: { destIP: string; destPort: number }) => void = echo,
    key = testKey(),
  ): Promise<{ client: Client; key: TestKey }> {
    this.roles.set(key.publicKey, {
      ...this.roles.get(key.publicKey),
      device: { project: 'default', device: name },
    })
    const client = await this.connect(slave, key)
    client.on('tcp connection', (to, accept) => serve(accept(), to))
    for (const forward of forwards) {
      const [, address = '', port] = /^(.*):(\d+)$/.exec(forward) ?? []
      await new Promise<void>((resolve, reject) =>
        client.forwardIn(address, Number(port), (error) => (error ? reject(error) : resolve())),
      )
    }
    this.carriers.set(name, this.nameOf(slave.master))
    return { client, key }
  }

  reports(slave: GateSlave): VisitReport[] {
    const id = slave.hello.id
    return this.master.links
      .filter((end) => this.nameOf(end) === id)
      .flatMap(({ said }) => said.filter(([type]) => type === 'visit').map(([, body]) => body as VisitReport))
  }

  /** Waits for the report of an end. */
  async ended(slave: GateSlave, count = 1): Promise<VisitReport[]> {
    const ended = (): VisitReport[] => this.reports(slave).filter((report) => report.ended)
    await until(() => ended().length >= count)
    return ended()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.destroy()
    await Promise.all(this.slaves.map(({ slave }) => slave.close({ drainMs: 0 })))
    await this.master.close()
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true })
  }
}

export function echo(channel: ClientChannel): void {
  channel.on('error', () => {})
  channel.pipe(channel)
}

/** A `direct-tcpip`; rejects with the gate's text. */
export function visit(client: Client, target: string, port = 22): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    client.forwardOut('127.0.0.1', 1, target, port, (error, channel) => {
      if (error) return reject(error)
      channel.on('error', () => {})
      resolve(channel)
    })
  })
}

/** Sends a text and ends; resolves with all that comes back. */
export async function exchange(channel: ClientChannel, text: string | Buffer): Promise<string> {
  const chunks: Buffer[] = []
  channel.on('data', (chunk: Buffer) => chunks.push(chunk))
  channel.end(text)
  await once(channel, 'end')
  return Buffer.concat(chunks).toString()
}
