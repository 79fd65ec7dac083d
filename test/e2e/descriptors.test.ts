// Sockets per tunnel, counted in the slave's process, and the capacity that follows from how many it may open.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import ssh2 from 'ssh2'
import { beforeAll, expect, test } from 'vitest'

import {
  atEnd,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  start,
  startCluster,
  takePorts,
  type Cluster,
  type Key,
  type Slave,
} from '../kit/index.ts'

const TUNNELS = 200

let cluster: Cluster
let slave: Slave
let key: Key

beforeAll(async () => {
  const hook = join(makeFolder(), 'hook.mjs')
  writeFileSync(hook, 'export const validate_device = (key, { username }) => ({ client_key: username })')
  cluster = await startCluster({ hook, forwardPorts: 2 * TUNNELS, slaveFlags: ['--capacity', '5000'] })
  slave = cluster.slaves[0]!
  key = await makeKey(makeFolder())
})

const descriptors = (): number => readdirSync(`/proc/${slave.process.pid}/fd`).length

async function health(of: Slave): Promise<Record<string, unknown>> {
  return (await (await fetch(`${of.statusUrl}/healthz`)).json()) as Record<string, unknown>
}

/** So many devices with one forward each. */
async function open(name: string, bindAddress: string, count: number): Promise<ssh2.Client[]> {
  const clients: ssh2.Client[] = []
  const one = async (n: number): Promise<void> => {
    const client = new ssh2.Client()
    atEnd(() => client.destroy())
    clients.push(client)
    await new Promise<void>((resolve, reject) => {
      client.on('error', reject)
      client.on('ready', () => {
        client.forwardIn(bindAddress, 0, (error) => (error ? reject(error) : resolve()))
      })
      const privateKey = readFileSync(key.path)
      client.connect({ host: slave.host, port: slave.port, username: `${name}-${n}`, privateKey })
    })
  }
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) await one(next++)
  }
  await Promise.all(Array.from({ length: 8 }, worker))
  return clients
}

test('T145: N bound tunnels take 2 N descriptors, N named ones N, and none is left when they are gone', async () => {
  const before = descriptors()
  for (const [name, address, each] of [
    ['bound', '', 2],
    ['named', 'web', 1],
  ] as const) {
    const clients = await open(name, address, TUNNELS)
    const used = descriptors() - before
    expect(used).toBeGreaterThanOrEqual(each * TUNNELS)
    expect(used).toBeLessThan(each * TUNNELS + 20)
    for (const client of clients) client.end()
    await eventually(() => expect(descriptors()).toBeLessThan(before + 10))
  }
})

test('T147: the capacity is the least of --capacity, descriptors and ports, and it is said which', async () => {
  expect(await health(slave)).toMatchObject({ capacity: 2 * TUNNELS, capacityLimit: 'forward-ports' })
  await slave.process.logged('fewer tunnels than --capacity asks for will fit')
  const line = await slave.process.logged('slave ready', ({ capacity }) => capacity === 2 * TUNNELS)
  expect(line).toMatchObject({ capacityLimit: 'forward-ports', descriptors: expect.any(Number) })
  expect((await cluster.cluster()).slaves).toMatchObject([{ capacity: 2 * TUNNELS }])
})

test('T147: a limit of 600 open files leaves room for 44 tunnels, and the start says so', async () => {
  const { first, last } = await takePorts(100)
  const slave = `${process.execPath} ${new URL('../../dist/sshoal.mjs', import.meta.url).pathname} slave`
  const flags = [
    `--master ${cluster.master.url} --token-file ${cluster.master.slaveTokenFile} --ssh-listen 127.0.0.1:0`,
    `--id small --capacity 100 --forward-ports ${first}-${last} --host-key ${makeFolder()}/host-key`,
  ]
  const small = start('bash', ['-c', `ulimit -n 600; exec ${slave} ${flags.join(' ')}`])
  await small.waitForOutput(
    /"wanted":100,"capacity":88,"capacityLimit":"descriptors","descriptors":600,"ports":100/,
  )
  await small.waitForOutput(/"capacity":88,"capacityLimit":"descriptors"[^\n]*"slave ready"/)
  await eventually(async () => {
    expect((await cluster.cluster()).slaves.find(({ id }) => id === 'small')).toMatchObject({ capacity: 88 })
  })
})

test('a device with stock ssh is held by exactly two', async () => {
  const before = descriptors()
  const device = openDevice({ slave, key })
  await device.port()
  expect(descriptors()).toBe(before + 2)
})
