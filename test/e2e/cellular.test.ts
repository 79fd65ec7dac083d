// What a tunnel costs on a metered link, counted at the device's interface, against what docs/cellular.md says.
// IP bytes in both directions: TCP and IP headers count, Ethernet's do not.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { beforeAll, expect, test } from 'vitest'

import {
  callApi,
  createNetwork,
  eventually,
  makeDropbearKey,
  makeFolder,
  makeKey,
  openDevice,
  run,
  start,
  startMaster,
  startSlave,
  type DeviceOptions,
  type Master,
  type Network,
  type Slave,
} from '../kit/index.ts'
import { makeCertificate } from '../kit/tls.ts'

const doc = readFileSync(fileURLToPath(new URL('../../docs/cellular.md', import.meta.url)), 'utf8')

/** The cells behind the row's name in the first table that has such a row. */
function row(name: string): string[] {
  const line = doc.split('\n').find((text) => text.startsWith(`| ${name} |`))
  if (line === undefined) throw new Error(`docs/cellular.md has no row "${name}"`)
  return line
    .split('|')
    .slice(2, -1)
    .map((cell) => cell.trim())
}

const bytes = (cell = ''): number => Number(cell.replace(/,/g, ''))

// `both` costs what one costs: the slower side never gets to ask.
const senders = { slave: 'the slave', device: 'the device itself', both: 'the slave' }
const clients = { openssh: 'OpenSSH', dropbear: 'dropbear' }
type Client = keyof typeof clients
type Sender = keyof typeof senders
const cases = (['openssh', 'dropbear'] as const).flatMap((client) =>
  (['slave', 'device', 'both'] as const).map((sender) => ({ client, sender })),
)
const host = (client: Client, sender: Sender): string => `${client[0]}-${sender[0]}`

let network: Network
let master: Master
let slave: Slave

beforeAll(async () => {
  const devices = cases.map(({ client, sender }, n) => [host(client, sender), [`10.77.0.${n + 2}/24`]])
  network = await createNetwork({ hosts: { server: ['10.77.0.1/24'], ...Object.fromEntries(devices) } })
  const netns = network.netns('server')
  master = await startMaster({ netns, listen: '10.77.0.1:8080', flags: ['--insecure-http'] })
  const flags = ['--public-host', '10.77.0.1', '--keepalive', '0']
  slave = await startSlave({ master, id: 'slave-1', netns, sshListen: '10.77.0.1:2222', flags })
})

/** A device that is in the registry with this keepalive, and what to start it with. */
async function enrol(id: string, client: Client, keepalive: string): Promise<DeviceOptions> {
  const key = await (client === 'openssh' ? makeKey : makeDropbearKey)(makeFolder())
  const api = { url: master.url, token: master.adminToken, netns: network.netns('server') }
  const added = await callApi(api, 'POST', '/devices', { id, keys: [key.publicKey], keepalive })
  expect(added).toMatchObject({ status: 201 })
  return { slave: { host: '10.77.0.1', port: slave.port }, key, client }
}

async function count(on: string): Promise<number> {
  const { stdout } = await run('ip', ['-n', network.netns(on), '-s', '-j', 'link', 'show', 'eth0'])
  const [{ stats64 }] = JSON.parse(stdout)
  const ethernet = 14 * (stats64.rx.packets + stats64.tx.packets)
  return stats64.rx.bytes + stats64.tx.bytes - ethernet
}

/** Waits until nothing more comes; answers the count. */
async function settled(on: string): Promise<number> {
  let last = -1
  return eventually(
    async () => {
      const now = await count(on)
      const still = now === last
      last = now
      return still ? now : false
    },
    { every: 250, message: `nothing more comes at ${on}` },
  )
}

function within(measured: number, documented: number, tolerance: number): void {
  expect(measured).toBeGreaterThanOrEqual(documented * (1 - tolerance))
  expect(measured).toBeLessThanOrEqual(documented * (1 + tolerance))
}

test('a keepalive costs what the document says, whoever sends it', async () => {
  const measure = async ({ client, sender }: (typeof cases)[number]): Promise<number> => {
    const on = host(client, sender)
    const device = await enrol(`keepalive-${on}`, client, sender === 'device' ? '0' : '1s')
    const seconds = sender === 'device' ? 1 : 2
    const own = client === 'openssh' ? ['-o', `ServerAliveInterval=${seconds}`] : ['-K', `${seconds}`]
    const options = sender === 'slave' ? [] : own
    await openDevice({ ...device, options, netns: network.netns(on) }).port()
    // A round is a burst with silence around it; the first look falls into the end of the login.
    let seen = await count(on)
    let changedAt = performance.now()
    const bursts: number[] = []
    await eventually(
      async () => {
        const now = await count(on)
        if (now === seen) return bursts.length >= 6 && performance.now() - changedAt > 300
        const goesOn = performance.now() - changedAt < 300
        bursts.push(now - seen + (goesOn ? (bursts.pop() ?? 0) : 0))
        seen = now
        changedAt = performance.now()
        return false
      },
      { within: 20_000, every: 40, message: `six keepalives with ${on}` },
    )
    // The median: now and then TCP acknowledges apart what it could have acknowledged with the answer.
    return bursts.slice(1, 6).sort((a, b) => a - b)[2] ?? 0
  }
  const measured = await Promise.all(cases.map(measure))
  for (const [n, { client, sender }] of cases.entries()) {
    const [documented] = row(`${clients[client]}, asked by ${senders[sender]}`)
    within(measured[n] ?? 0, bytes(documented), 0.2)
  }
})

test('the months in the document follow from its bytes per keepalive', () => {
  for (const { client, sender } of cases) {
    const [each, ...months] = row(`${clients[client]}, asked by ${senders[sender]}`)
    expect(months).toHaveLength(3)
    for (const [n, seconds] of [15, 60, 300].entries()) {
      const megabytes = ((30 * 86_400) / seconds) * (bytes(each) / 1e6)
      within(megabytes, Number.parseFloat(months[n] ?? ''), 0.05)
    }
  }
})

test('a reconnect costs what the document says', async () => {
  for (const client of ['openssh', 'dropbear'] as const) {
    const on = host(client, 'slave')
    const device = await enrol(`reconnect-${client}`, client, '0')
    const before = await settled(on)
    const opened = openDevice({ ...device, netns: network.netns(on) })
    await opened.port()
    const [documented] = row(`login and one forward, ${clients[client]}`)
    const measured = (await settled(on)) - before
    within(measured, bytes(documented), 0.25)
    await opened.stop()
  }
})

test('asking for a slot costs what the document says', async () => {
  const netns = network.netns('server')
  const { path, keyPath } = await makeCertificate(makeFolder(), ['IP:10.77.0.1'])
  const pem = join(makeFolder(), 'both.pem')
  writeFileSync(pem, readFileSync(path, 'utf8') + readFileSync(keyPath, 'utf8'))
  const config = join(makeFolder(), 'haproxy.cfg')
  const timeouts = 'timeout connect 5s\n timeout client 5s\n timeout server 5s'
  writeFileSync(
    config,
    `defaults\n mode http\n ${timeouts}\nlisten tls\n bind 10.77.0.1:8443 ssl crt ${pem}\n server m 10.77.0.1:8080\n`,
  )
  start('haproxy', ['-f', config, '-db'], { netns })
  const on = host('openssh', 'device')
  const ask = (url: string) =>
    run('curl', ['-sf', '--cacert', path, `${url}/connect?format=text`], { netns: network.netns(on) })
  await eventually(async () => expect(await ask('https://10.77.0.1:8443')).toMatchObject({ status: 0 }))
  for (const [name, url] of [
    ['a slot over HTTP', 'http://10.77.0.1:8080'],
    ['a slot over HTTPS', 'https://10.77.0.1:8443'],
  ] as const) {
    const before = await settled(on)
    expect(await ask(url)).toMatchObject({ status: 0 })
    const measured = (await settled(on)) - before
    within(measured, bytes(row(name)[0]), 0.25)
  }
})
