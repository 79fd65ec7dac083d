// Neighbouring versions of the cluster link: a slave of before and one of after today's master, and a master of after
// today's slave. What a slave of version 1 says is kept here word for word, apart from the code that says it now; only
// what is fresh at each link (nonce, signature) is put in anew.

import { generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'

import { beforeAll, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'

import {
  atEnd,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  startCluster,
  startSlave,
  type Cluster,
} from '../kit/index.ts'

let cluster: Cluster

beforeAll(async () => {
  cluster = await startCluster({ slaves: 0 })
})

type Message = [type: string, body: unknown, request?: number]

const text = (value: string | Buffer): Buffer => {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

/** The words of a slave of version 1. Never to be changed with the protocol: that is what they are for. */
const RECORDED = {
  hello: {
    id: 'recorded',
    instance: '6b0b8c0e-7a53-4b44-9f0c-5d3c2c7f9b11',
    version: '0.1.0',
    publicHost: 'recorded.test',
    publicPort: 2222,
    sshPorts: [2222],
    forwardAddress: '127.0.0.1',
    forwardPorts: { first: 20000, last: 20049 },
    capacity: 50,
    uptimeSeconds: 12,
    draining: false,
    addresses: ['192.0.2.7'],
    tunnels: 1,
  },
  tunnel: {
    project: 'default',
    device: 'recorded-1',
    epoch: 1_795_000_000_000_000,
    fingerprint: 'SHA256:e2M2n7bO0cT3hYx6o8uQ9pW0rS1tU2vX3yZ4aB5cD6E',
    remoteAddress: '198.51.100.4',
    connectedAt: 1_795_000_000_000,
    forwards: [{ kind: 'bound', bindAddress: 'localhost', bindPort: 0, port: 20007 }],
  },
}

/** A slave that a test plays by hand. */
async function playSlave(change: { protocol: object; more?: object; id?: string }) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  const key = Buffer.concat([text('ssh-ed25519'), text(raw)])
  const socket = new WebSocket(`${cluster.master.url.replace('http', 'ws')}/slaves`, 'sshoal.v1', {
    headers: { authorization: `Bearer ${cluster.master.slaveToken}` },
  })
  socket.on('error', () => {})
  atEnd(() => socket.terminate())
  const heard: Message[] = []
  let closed: { code: number; reason: string } | undefined
  socket.on('message', (data: Buffer) => heard.push(...(JSON.parse(data.toString()) as Message[])))
  socket.on('close', (code, reason) => (closed = { code, reason: reason.toString() }))
  const say = (...messages: Message[]): void => socket.send(JSON.stringify(messages))
  const hear = <T = Record<string, unknown>>(type: string): Promise<T> =>
    eventually(() => (heard.find(([name]) => name === type)?.[1] as T | undefined) ?? false)
  const { nonce } = await hear<{ nonce: string }>('challenge')
  const id = change.id ?? RECORDED.hello.id
  const proof = Buffer.from(`sshoal link v1\0${nonce}\0${id}\0`)
  const signature = Buffer.concat([text('ssh-ed25519'), text(sign(null, proof, privateKey))]).toString(
    'base64',
  )
  const hostKeys = [{ algorithm: 'ssh-ed25519', publicKey: key.toString('base64') }]
  const more = change.more ?? {}
  say(['hello', { ...RECORDED.hello, id, hostKeys, signature, protocol: change.protocol, ...more }])
  return { socket, say, hear, heard, end: () => eventually(() => closed ?? false) }
}

test('a slave of version 1, word for word, is understood from its hello to its good-bye', async () => {
  const events = await cluster.events()
  const slave = await playSlave({ protocol: { version: 1, oldest: 1 } })
  const { tunnel } = RECORDED
  slave.say(['snapshot', { tunnels: [tunnel], last: true }])
  expect(await slave.hear('welcome')).toMatchObject({
    fixedPorts: [],
    lost: [],
    nowMicros: expect.any(Number),
  })
  slave.say(
    ['status', { load: 0.12, visits: 3, connections: 1 }],
    ['tunnel.up', { ...tunnel, device: 'recorded-2', epoch: tunnel.epoch + 1 }],
    ['tunnel.changed', { project: 'default', device: 'recorded-1', epoch: tunnel.epoch, forwards: [] }],
    ['refused', { code: 'KEY_UNKNOWN', reason: 'not known', remoteAddress: '198.51.100.9' }],
    [
      'admit',
      {
        project: 'default',
        device: 'recorded-3',
        fingerprint: 'f',
        remoteAddress: '198.51.100.5',
        incumbent: 0,
      },
      1,
    ],
  )
  await events.next('tunnel.up', { device: 'recorded-2' })
  await events.next('tunnel.changed', { device: 'recorded-1' })
  await events.next('device.refused', { code: 'KEY_UNKNOWN' })
  await eventually(() =>
    slave.heard.some(
      ([type, body, number]) =>
        type === '=' && number === 1 && (body as { outcome: string }).outcome === 'admitted',
    ),
  )
  expect(await cluster.cluster()).toMatchObject({
    slaves: [
      {
        id: 'recorded',
        state: 'ready',
        tunnels: 2,
        load: 0.12,
        version: '0.1.0',
        publicHost: 'recorded.test',
      },
    ],
  })
  slave.say(
    ['tunnel.down', { project: 'default', device: 'recorded-2', epoch: tunnel.epoch + 1, reason: 'gone' }],
    ['bye', { reason: 'the slave stops' }],
  )
  slave.socket.close()
  await events.next('slave.lost', { slave: 'recorded', reason: 'the slave stops' })
  expect(await cluster.tunnels()).toEqual([])
})

test('a slave of the next version is understood: what is new about it is ignored', async () => {
  const slave = await playSlave({
    protocol: { version: 2, oldest: 1, name: 'next' },
    more: { colour: 'blue' },
  })
  slave.say(
    ['snapshot', { tunnels: [{ ...RECORDED.tunnel, weight: 3 }], last: true, part: 1 }],
    ['tunnel.painted', { colour: 'red' }],
    ['paint', { colour: 'red' }, 7],
  )
  await slave.hear('welcome')
  slave.say(['status', { load: 0.5, visits: 1, connections: 1, temperature: 40 }])
  await eventually(async () => {
    expect((await cluster.cluster()).slaves).toMatchObject([
      { id: 'recorded', state: 'ready', tunnels: 1, load: 0.5 },
    ])
  })
  // A question that nobody understands is answered, not left to its deadline.
  await eventually(() => slave.heard.some(([type, , number]) => type === '!' && number === 7))
  expect(slave.socket.readyState).toBe(WebSocket.OPEN)
})

test.each([
  [{ version: 0, oldest: 0 }, /update the slave: it speaks protocol 0, the master needs 1/],
  [{ version: 3, oldest: 2 }, /update the master: it speaks protocol 1, the slave needs 2/],
])('versions that are not neighbours are told which side to update: %j', async (protocol, reason) => {
  const id = `far-${protocol.version}`
  const slave = await playSlave({ protocol, id })
  expect((await slave.end()).reason).toMatch(reason)
  expect((await cluster.cluster()).slaves.find((each) => each.id === id)).toBeUndefined()
})

test('a slave works with a master of the next version, whose news it ignores', async () => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => 'sshoal.v1' })
  await once(server, 'listening')
  atEnd(() => server.close())
  const heard: Message[] = []
  server.on('connection', (socket) => {
    atEnd(() => socket.terminate())
    const say = (...messages: unknown[]): void => socket.send(JSON.stringify(messages))
    say(['challenge', { nonce: Buffer.alloc(32, 7).toString('base64'), master: 'next', colour: 'blue' }])
    socket.on('message', (data: Buffer) => {
      for (const message of JSON.parse(data.toString()) as Message[]) {
        heard.push(message)
        const [type, body, number] = message
        if (type === 'snapshot')
          say(
            ['forecast', { rain: true }],
            [
              'welcome',
              {
                link: 'link-1',
                nowMicros: Date.now() * 1_000,
                seenAddress: '127.0.0.1',
                invalidation: { store: 'store-1', number: 1 },
                fixedPorts: [],
                lost: [],
                colour: 'blue',
              },
            ],
            ['paint', { colour: 'red' }, 99],
          )
        const role = { project: 'default', device: 'barn', colour: 'blue' }
        if (type === 'who')
          say([
            '=',
            {
              outcome: 'known',
              identity: { device: role },
              cacheMs: 0,
              staleMs: 0,
              addressBound: false,
              why: 'new',
            },
            number,
          ])
        if (type === 'admit') say(['=', { outcome: 'admitted', epoch: Date.now() * 1_000, rank: 1 }, number])
        expect(body).toBeDefined()
      }
    })
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const slaveTokenFile = `${makeFolder()}/token`
  writeFileSync(slaveTokenFile, 'a-slave-token')
  const slave = await startSlave({ master: { url, slaveTokenFile }, id: 'today' })
  await slave.process.logged('linked')
  const device = openDevice({ slave, key: await makeKey(makeFolder()) })
  await device.port()
  await eventually(() =>
    heard.some(([type, body]) => type === 'tunnel.up' && (body as { device: string }).device === 'barn'),
  )
  expect(heard.find(([type, , number]) => type === '!' && number === 99)).toBeDefined()
  expect(heard.find(([type]) => type === 'hello')?.[1]).toMatchObject({
    protocol: { version: 1, oldest: 1 },
    id: 'today',
  })
})
