// The PROXY protocol with a real haproxy: both versions, plain SSH beside it, and `deploy/haproxy.cfg`, which shares one
// port between HTTPS and SSH.

import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'

import {
  atEnd,
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  run,
  start,
  startCluster,
  startSlave,
  takePorts,
  type Cluster,
  type Key,
  type Slave,
} from '../kit/index.ts'
import { makeCertificate } from '../kit/tls.ts'

const CONFIG = new URL('../../deploy/haproxy.cfg', import.meta.url).pathname

let cluster: Cluster
let behind: Slave
let second: Slave
let plain: Slave
let port443: number
let devices = 0

beforeAll(async () => {
  port443 = (await takePorts(1)).first
  const flags = [
    '--proxy-protocol',
    '127.0.0.1',
    '--public-host',
    '127.0.0.1',
    '--public-port',
    String(port443),
  ]
  cluster = await startCluster({
    slaves: 3,
    masterFlags: ['--trust-proxy', '127.0.0.1'],
    slaveFlags: (n) => (n === 2 ? ['--region', 'plain'] : flags),
  })
  ;[behind, second, plain] = cluster.slaves as [Slave, Slave, Slave]
})

async function enrol(): Promise<{ id: string; key: Key }> {
  const id = `device-${++devices}`
  const key = await makeKey(makeFolder())
  await cluster.addDevice(id, key)
  return { id, key }
}

async function startHaproxy(config: string, env: Record<string, string> = {}): Promise<void> {
  const haproxy = start('haproxy', ['-db', '-f', config], { env })
  const [, port] = /bind[^\n]*?:(\d+)/.exec(readFileSync(config, 'utf8')) ?? []
  const at = env.SSHOAL_BIND?.split(':')[1] ?? port
  await eventually(async () => {
    if (haproxy.exit) throw new Error(haproxy.output)
    const socket = connect(Number(at), '127.0.0.1')
    await once(socket, 'connect')
    socket.destroy()
  })
}

/** The address that the cluster shows for a device which came in there from here. */
async function addressOf(device: string, from: string, key: Key, port: number): Promise<string> {
  const client = openDevice({ slave: { host: '127.0.0.1', port }, key, options: ['-b', from] })
  await client.port()
  const tunnel = await eventually(async () => {
    const tunnels = await cluster.tunnels()
    return tunnels.find((each) => each.device === device) ?? false
  })
  await client.stop()
  return tunnel.remoteAddress
}

describe('behind a trusted proxy', () => {
  test.each([
    ['T135, T136: send-proxy', 'send-proxy'],
    ['T135, T136: send-proxy-v2 with TLVs', 'send-proxy-v2 proxy-v2-options unique-id,crc32c'],
  ])('%s: the address that is shown is the device’s', async (_title, how) => {
    const { id, key } = await enrol()
    const { first } = await takePorts(1)
    const config = join(makeFolder(), 'haproxy.cfg')
    writeFileSync(
      config,
      `defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen ssh
  bind 127.0.0.1:${first}
  unique-id-format ${'x'.repeat(100)}-%pid
  server slave 127.0.0.1:${behind.port} ${how} check inter 500ms
`,
    )
    await startHaproxy(config)
    expect(await addressOf(id, '127.0.0.21', key, first)).toBe('127.0.0.21')
  })

  test('T137: plain SSH from the proxy’s own address is dropped and counted', async () => {
    const { key } = await enrol()
    const device = openDevice({ slave: behind, key })
    expect((await device.exited).status).toBe(255)
    const page = await (await fetch(`${behind.statusUrl}/metrics`)).text()
    expect(page).toMatch(/sshoal_connections_dropped_total\{reason="proxy-header"\} [1-9]/)
  })

  test('T140: plain SSH from any other address goes on as ever', async () => {
    const { id, key } = await enrol()
    expect(await addressOf(id, '127.0.0.22', key, behind.port)).toBe('127.0.0.22')
  })
})

test('T141: without the flag a PROXY header is no SSH, and no address is believed', async () => {
  const socket = connect(plain.port, '127.0.0.1')
  socket.on('error', () => {})
  let said = ''
  socket.on('data', (chunk) => (said += chunk.toString()))
  socket.write('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nSSH-2.0-x\r\n')
  await eventually(() => socket.closed || said.includes('Invalid SSH identification string'))
  socket.destroy()
  const { id, key } = await enrol()
  expect(await addressOf(id, '127.0.0.23', key, plain.port)).toBe('127.0.0.23')
})

describe('deploy/haproxy.cfg', () => {
  let ca: string
  let env: Record<string, string>

  beforeAll(async () => {
    const folder = makeFolder()
    const { path, keyPath } = await makeCertificate(folder)
    ca = path
    const pem = join(folder, 'both.pem')
    writeFileSync(pem, readFileSync(path, 'utf8') + readFileSync(keyPath, 'utf8'))
    env = {
      SSHOAL_BIND: `127.0.0.1:${port443}`,
      SSHOAL_MASTER: new URL(cluster.master.url).host,
      SSHOAL_SLAVE_1: `127.0.0.1:${behind.port}`,
      SSHOAL_SLAVE_2: `127.0.0.1:${second.port}`,
      SSHOAL_CERT: pem,
    }
    await startHaproxy(CONFIG, env)
  })

  test('answers HTTPS on the port on which devices open their tunnels', async () => {
    const curl = await run('curl', [
      '-sS',
      '--cacert',
      ca,
      `https://127.0.0.1:${port443}/connect?format=text`,
    ])
    expect(curl.stdout).toMatch(new RegExp(`^127\\.0\\.0\\.1 ${port443}\n127\\.0\\.0\\.1 ssh-ed25519 `))
    const { id, key } = await enrol()
    expect(await addressOf(id, '127.0.0.24', key, port443)).toBe('127.0.0.24')
  })

  test('tells the master the asker’s own address, whatever the asker says about it', async () => {
    const seen: unknown[] = []
    const recorder = createServer((request, response) => {
      seen.push(request.headers['x-forwarded-for'])
      response.end('seen\n')
    })
    await new Promise<void>((resolve) => recorder.listen(0, '127.0.0.1', resolve))
    atEnd(() => recorder.close())
    const { first } = await takePorts(1)
    const { port } = recorder.address() as AddressInfo
    await startHaproxy(CONFIG, {
      ...env,
      SSHOAL_BIND: `127.0.0.1:${first}`,
      SSHOAL_MASTER: `127.0.0.1:${port}`,
    })
    const lie = ['-H', 'X-Forwarded-For: 192.0.2.1']
    const from = ['--cacert', ca, '--interface', '127.0.0.25']
    const asked = await run('curl', ['-sS', ...from, ...lie, `https://127.0.0.1:${first}/connect`])
    expect(asked.stdout).toBe('seen\n')
    expect(seen).toEqual(['127.0.0.25'])
  })

  test('carries the link of a slave too', async () => {
    const master = { ...cluster.master, url: `https://127.0.0.1:${port443}` }
    const slave = await startSlave({ master, id: 'far', flags: ['--master-ca', ca] })
    await slave.process.logged('linked')
    await eventually(async () => {
      expect((await cluster.cluster()).slaves.find(({ id }) => id === 'far')?.state).toBe('ready')
    })
    await slave.process.stop()
  })

  test('lets a client through that waits for the server to speak, and hangs up on what is neither', async () => {
    const waiting = connect(port443, '127.0.0.1')
    const [greeting] = (await once(waiting, 'data')) as [Buffer]
    expect(greeting.toString()).toMatch(/^SSH-2\.0-sshoal/)
    waiting.destroy()
    const web = connect(port443, '127.0.0.1')
    web.on('error', () => {}).resume()
    web.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await once(web, 'close')
  })
})
