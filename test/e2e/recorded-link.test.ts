// A link of the first build that had one, frame by frame as it went over the wire (recorded-link.json): its slave is played
// to today's master, its master to today's slave. Put in anew is only what no recording can hold: the host key that signs
// this link's nonce, the epochs, numbers and fingerprints that the living end chose.

import { generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

import { expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'

import { atEnd, eventually, makeFolder, makeKey, openDevice, startCluster, startSlave } from '../kit/index.ts'

type Message = [type: string, body: Record<string, unknown>, request?: number]
interface Frame {
  from: 'slave' | 'master'
  messages: Message[]
}
interface Recording {
  keys: Record<'barn' | 'mill' | 'stranger', string>
  links: Frame[][]
}

const recording = JSON.parse(
  readFileSync(new URL('recorded-link.json', import.meta.url), 'utf8'),
) as Recording

const packed = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part)
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.length)
      return [length, bytes]
    }),
  )

/** The same, with recorded values replaced by those of today. */
function renewed<T>(value: T, today: ReadonlyMap<unknown, unknown>): T {
  if (today.has(value)) return today.get(value) as T
  if (Array.isArray(value)) return value.map((each: unknown) => renewed(each, today)) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, renewed(each, today)])) as T
}

test('the slave of before, played to a master of today, is listed, asked, obeyed and kicked as it was', async () => {
  const cluster = await startCluster({ slaves: 0, masterFlags: ['--cache-ttl', '0'] })
  for (const id of ['barn', 'mill'] as const)
    await cluster.api('POST', '/devices', { id, keys: [recording.keys[id]] })
  const events = await cluster.events()
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  const hostKeys = [{ algorithm: 'ssh-ed25519', publicKey: packed('ssh-ed25519', raw).toString('base64') }]
  const today = new Map<unknown, unknown>()
  const admission = recording.links[0]?.flatMap(({ messages }) => messages).find(([type]) => type === 'admit')
  const fingerprint = String(admission?.[1].fingerprint)
  /** What an operator did when the master said this. */
  const operator: Record<string, () => Promise<{ status: number }>> = {
    cut: () => cluster.api('POST', '/devices/mill/kick'),
    invalidate: () => cluster.api('DELETE', `/devices/barn/keys/${encodeURIComponent(fingerprint)}`),
    drain: () => cluster.api('POST', '/cluster/slaves/recorded/drain', { seconds: 1 }),
  }
  const obeyed: Promise<{ status: number }>[] = []

  for (const [index, frames] of recording.links.entries()) {
    const socket = new WebSocket(`${cluster.master.url.replace('http', 'ws')}/slaves`, 'sshoal.v1', {
      headers: { authorization: `Bearer ${cluster.master.slaveToken}` },
    })
    atEnd(() => socket.terminate())
    const heard: Message[] = []
    socket.on('message', (data: Buffer) => heard.push(...(JSON.parse(data.toString()) as Message[])))
    const hear = (isMeant: (message: Message) => boolean): Promise<Message> =>
      eventually(() => heard.find(isMeant) ?? false)
    /** The master's requests have numbers of its own. */
    const numbers = new Map<number, number>()
    let nonce = ''
    for (const { from, messages } of frames) {
      if (from === 'slave') {
        const spoken = messages.map(([type, body, number]): Message => {
          if (type === '=') return [type, body, numbers.get(number ?? 0) ?? 0]
          if (type !== 'hello')
            return [type, renewed(body, today), ...(number === undefined ? [] : [number])] as Message
          const proof = Buffer.from(`sshoal link v1\0${nonce}\0recorded\0`)
          const signature = packed('ssh-ed25519', sign(null, proof, privateKey)).toString('base64')
          return [type, { ...body, hostKeys, signature }]
        })
        socket.send(JSON.stringify(spoken))
        continue
      }
      for (const [type, body, number] of messages) {
        if (type === '=') {
          const [, answer] = await hear(([said, , to]) => said === '=' && to === number)
          if (body.outcome === 'admitted') today.set(body.epoch, answer.epoch)
          expect(answer).toMatchObject(renewed(body, today))
        } else if (number === undefined) {
          const [, said] = await hear(([name]) => name === type)
          if (type === 'challenge') nonce = String(said.nonce)
          for (const [field, value] of Object.entries(body)) expect(typeof said[field]).toBe(typeof value)
        } else {
          const act = operator[type]
          if (act) obeyed.push(act())
          const [, asked, own] = await hear(([name, , n]) => name === type && n !== undefined)
          numbers.set(number, own ?? 0)
          const { number: _ofTheStore, ...same } = renewed(body, today)
          expect(asked).toMatchObject(same)
        }
      }
    }
    if (index > 0) {
      socket.close(1_001)
      break
    }
    // As it stood when the first link broke: a device with two forwards, another with one, and a stranger refused.
    await events.next('device.refused', { code: 'KEY_UNKNOWN' })
    await events.next('tunnel.changed', { device: 'barn' })
    const tunnels = (await cluster.tunnels()).toSorted((a, b) => a.device.localeCompare(b.device))
    expect(tunnels).toMatchObject([
      { device: 'barn', slave: 'recorded', forwards: [{ port: 18_103 }, { bindAddress: 'web', port: 80 }] },
      { device: 'mill', slave: 'recorded', forwards: [{ port: 18_120 }] },
    ])
    expect((await cluster.cluster()).slaves).toMatchObject([
      {
        id: 'recorded',
        state: 'ready',
        publicHost: 'recorded.test',
        region: 'eu',
        tunnels: 2,
        capacity: 9_744,
      },
    ])
    socket.close(1_012)
    await events.next('slave.stale', { slave: 'recorded' })
  }
  expect((await Promise.all(obeyed)).map(({ status }) => status < 300)).toEqual([true, true, true])
  await events.next('tunnel.down', { device: 'mill', reason: 'an operator ended this connection' })
  await events.next('tunnel.down', { device: 'barn', reason: 'this key is no longer accepted' })
  await events.next('slave.lost', { slave: 'recorded', reason: 'the slave stops' })
  expect(await cluster.tunnels()).toEqual([])
})

test('the master of before, played to a slave of today, hears of every device, and its cut, removal and drain are done', async () => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => 'sshoal.v1' })
  await once(server, 'listening')
  atEnd(() => server.close())
  /** What it says of its own, and its answers by what they answer, each in the order of the recording. */
  const words = (type: string): Record<string, unknown>[] =>
    recording.links
      .flat()
      .flatMap(({ from, messages }) =>
        messages.flatMap(([said, body]) => (from === 'master' && said === type ? [body] : [])),
      )
  const answers = (type: string): Record<string, unknown>[] =>
    recording.links
      .flatMap((frames) => {
        const asked = frames.flatMap(({ from, messages }) => (from === 'slave' ? messages : []))
        const numbers = asked.flatMap(([said, , number]) => (said === type && number ? [number] : []))
        const replies = frames.flatMap(({ from, messages }) => (from === 'master' ? messages : []))
        return numbers.flatMap((wanted) => replies.filter(([said, , to]) => said === '=' && to === wanted))
      })
      .map(([, body]) => body)
  const left = {
    challenge: words('challenge'),
    welcome: words('welcome'),
    who: answers('who'),
    admit: answers('admit'),
  }
  const heard: Message[] = []
  let socket: WebSocket | undefined
  const say = (...messages: unknown[]): void => socket?.send(JSON.stringify(messages))
  server.on('connection', (link) => {
    atEnd(() => link.terminate())
    socket = link
    say(['challenge', left.challenge.shift()])
    link.on('message', (data: Buffer) => {
      for (const message of JSON.parse(data.toString()) as Message[]) {
        heard.push(message)
        const [type, body, number] = message
        if (type === 'snapshot' && body.last) say(['welcome', left.welcome.shift()])
        if (type === 'who' || type === 'admit') say(['=', left[type].shift() ?? answers(type).at(-1), number])
      }
    })
  })
  const hear = (type: string, like: object = {}, count = 1): Promise<Message> =>
    eventually(() => {
      const found = heard.filter(
        ([said, body]) => said === type && Object.entries(like).every(([k, v]) => body[k] === v),
      )
      return found[count - 1] ?? false
    })
  let requests = 0
  const ask = async (type: string, change: object = {}): Promise<unknown> => {
    const number = ++requests
    say([type, { ...words(type)[0], ...change }, number])
    const answer = await eventually(
      () => heard.find(([said, , to]) => said === '=' && to === number) ?? false,
    )
    return answer[1]
  }

  const slaveTokenFile = join(makeFolder(), 'token')
  writeFileSync(slaveTokenFile, 'a-slave-token')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const slave = await startSlave({ master: { url, slaveTokenFile }, id: 'today' })
  await slave.process.logged('linked')
  expect((await hear('hello'))[1]).toMatchObject({ id: 'today', protocol: { version: 1 } })
  const folder = makeFolder()
  const [first, second] = answers('admit').map(({ epoch }) => epoch)
  const barnKey = await makeKey(folder)
  const barn = openDevice({ slave, key: barnKey })
  const port = await barn.port()
  const [, up] = await hear('tunnel.up', { device: 'barn', epoch: first })
  expect(up).toMatchObject({ fingerprint: barnKey.fingerprint, forwards: [{ kind: 'bound', port }] })
  const mill = openDevice({ slave, key: await makeKey(folder) })
  await mill.port()
  await hear('tunnel.up', { device: 'mill', epoch: second })
  const stranger = openDevice({ slave, key: await makeKey(folder) })
  await stranger.exited
  expect(stranger.output).toMatch(/sshoal: the key SHA256:\S+ is not known here/)
  await hear('refused', { code: 'KEY_UNKNOWN' })

  socket?.close(1_012)
  await hear('hello', {}, 2)
  const [, snapshot] = await hear('snapshot', {}, 2)
  expect(snapshot.tunnels).toMatchObject([
    { device: 'barn', epoch: first },
    { device: 'mill', epoch: second },
  ])

  expect(await ask('cut')).toEqual({ cut: true })
  await mill.exited
  expect(mill.output).toContain('an operator ended this connection')
  await hear('tunnel.down', { device: 'mill', epoch: second })
  const newer = openDevice({ slave, key: barnKey })
  expect(await newer.port()).toBe(port)
  await barn.exited
  expect(barn.output).toContain('a newer connection of barn from 127.0.0.1 took over')
  await hear('contested', { device: 'barn' })
  // Its program has ended, but the slave may yet have to see that.
  await eventually(async () => {
    const page = await (await fetch(`${slave.statusUrl}/metrics`)).text()
    expect(page).toContain('sshoal_connections{state="authenticated"} 1\n')
  })
  expect(await ask('invalidate', { fingerprints: [barnKey.fingerprint] })).toEqual({ cut: 1 })
  await newer.exited
  expect(newer.output).toContain('this key is no longer accepted')
  expect(await ask('drain')).toEqual({ tunnels: 0 })
  await hear('draining', { draining: true })
  slave.process.signal('SIGTERM')
  await hear('bye', { reason: 'the slave stops' })
  expect(Object.values(left).flat()).toEqual([])
})
