// After 10,000 visits and 1,000 reconnects a slave is where it was: its descriptors, its listeners, its heap.

import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

import ssh2 from 'ssh2'
import { expect, test } from 'vitest'

import { atEnd, eventually, makeFolder, makeKey, startCluster, type Key, type Slave } from '../kit/index.ts'

const ROUND = 1_000
const ROUNDS = 10
const RECONNECTS = 1_000

/** Run in the slave's process before anything else. */
const ON_SIGNAL = `require('node:v8').setFlagsFromString('--expose-gc')
const gc = require('node:vm').runInNewContext('gc')
let look = 0
process.on('SIGUSR2', () => {
  gc()
  console.log(JSON.stringify({ msg: 'heap', look: ++look, used: process.memoryUsage().heapUsed }))
})
`

async function logIn(slave: Slave, key: Key): Promise<{ client: ssh2.Client; port: number }> {
  const client = new ssh2.Client()
  atEnd(() => client.destroy())
  client.on('tcp connection', (_details, accept) => {
    const stream = accept()
    stream.on('error', () => {})
    stream.pipe(stream)
  })
  const port = await new Promise<number>((resolve, reject) => {
    client.on('error', reject)
    client.on('ready', () =>
      client.forwardIn('', 0, (error, bound) => (error ? reject(error) : resolve(bound))),
    )
    const privateKey = readFileSync(key.path)
    client.connect({ host: slave.host, port: slave.port, username: 'device', privateKey })
  })
  return { client, port }
}

async function visit(port: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.end('x')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.toString()).toBe('x')
  if (!socket.closed) await once(socket, 'close')
}

async function repeat(count: number, atOnce: number, act: () => Promise<void>): Promise<void> {
  let left = count
  const worker = async (): Promise<void> => {
    while (left-- > 0) await act()
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

test('T086: 10,000 visits and 1,000 reconnects leave nothing behind', { timeout: 300_000 }, async () => {
  const preload = join(makeFolder(), 'heap.cjs')
  writeFileSync(preload, ON_SIGNAL)
  const cluster = await startCluster({ env: { NODE_OPTIONS: `--require ${preload}` } })
  const slave = cluster.slaves[0]!
  const key = await makeKey(makeFolder())
  await cluster.addDevice('barn', key)
  const proc = `/proc/${slave.process.pid}`
  const descriptors = () => readdirSync(`${proc}/fd`).length
  const metric = async (name: string): Promise<number> => {
    const page = await (await fetch(`${slave.statusUrl}/metrics`)).text()
    return Number(
      page
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')
        .at(-1) ?? 0,
    )
  }
  let looks = 0
  /** What is in use after a collection, MB. */
  const heap = async (): Promise<number> => {
    const look = ++looks
    slave.process.signal('SIGUSR2')
    const { used } = await slave.process.logged('heap', (line) => line.look === look)
    return Number(used) / 1_048_576
  }
  const churn = async (reconnects: number, visits: number): Promise<void> => {
    await repeat(reconnects, 1, async () => {
      const { client } = await logIn(slave, key)
      client.end()
      await once(client, 'close')
    })
    const { client, port } = await logIn(slave, key)
    await repeat(visits, 20, () => visit(port))
    await eventually(async () => expect(await metric('sshoal_visits')).toBe(0))
    client.end()
    await eventually(async () => {
      expect(await metric('sshoal_tunnels')).toBe(0)
      expect(await metric('sshoal_connections{state="authenticated"}')).toBe(0)
    })
  }
  await churn(100, ROUND)
  const before = { descriptors: descriptors(), heap: await heap() }
  await churn(RECONNECTS, ROUND * ROUNDS)
  await eventually(() => expect(descriptors()).toBeLessThanOrEqual(before.descriptors + 2))
  expect((await heap()) - before.heap).toBeLessThan(2)
  expect(await metric('sshoal_visits_total')).toBe(ROUND * (ROUNDS + 1))
  expect(slave.process.output).not.toContain('MaxListenersExceededWarning')
})
