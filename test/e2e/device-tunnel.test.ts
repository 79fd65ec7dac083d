// The device script with every shell, SSH client and HTTP client it is made for, against a real cluster: the
// tunnel, whom it trusts, and what it does when it is refused, sent away or signalled.

import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'

import { startDeviceScript, type DeviceScriptOptions, type Machine } from '../kit/device-script.ts'
import {
  atEnd,
  eventually,
  isAlive,
  makeDropbearKey,
  makeFolder,
  makeKey,
  run,
  startCluster,
  startHttp,
  visit,
  type Cluster,
  type Key,
} from '../kit/index.ts'
import { makeCertificate, startTlsFront, type Certificate } from '../kit/tls.ts'

let cluster: Cluster
let certificate: Certificate
let secure: string
/** The host key lines of the slave, as /connect writes them. */
let slaveKeys: string[]
let devices = 0

beforeAll(async () => {
  cluster = await startCluster()
  certificate = await makeCertificate(makeFolder())
  secure = await startTlsFront(cluster.master.url, certificate)
  const text = await fetch(`${cluster.master.url}/connect?format=text`)
  slaveKeys = (await text.text()).trimEnd().split('\n').slice(1)
})

const makeKeyFor = (client: Machine['client'] = 'openssh') =>
  (client === 'openssh' ? makeKey : makeDropbearKey)(makeFolder())

/** A device that the cluster knows, with its key. */
async function enrol(client?: Machine['client']): Promise<{ id: string; key: Key }> {
  const key = await makeKeyFor(client)
  const id = `device-${++devices}`
  await cluster.addDevice(id, key)
  return { id, key }
}

function pin(...lines: string[]): string[] {
  const file = join(makeFolder(), 'known_hosts')
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''))
  return ['--known-hosts', file]
}

const overHttps = () => ['--master', secure, '--ca', certificate.path]
const overHttp = () => ['--master', cluster.master.url]

/** Its tunnel as the cluster shows it. */
async function tunnelOf(id: string) {
  const tunnels = await cluster.tunnels()
  return tunnels.find(({ device }) => device === id)
}

const startDevice = (options: DeviceScriptOptions) => startDeviceScript({ args: overHttps(), ...options })

const UP = /the tunnel is up on \S+ port \d+; its ports there: (\d+)/

describe.each([
  { shell: 'dash', client: 'openssh', fetcher: 'curl' },
  { shell: 'dash', client: 'dropbear', fetcher: 'wget' },
  { shell: 'ash', client: 'openssh', fetcher: 'wget' },
  { shell: 'ash', client: 'dropbear', fetcher: 'curl' },
  { shell: 'ash', client: 'dropbear', fetcher: 'busybox wget' },
] as const)('under $shell, with $client and $fetcher', (machine) => {
  test('it opens a tunnel through which a visitor reaches the service, and ends it at SIGTERM', async () => {
    const { id, key } = await enrol(machine.client)
    const web = await startHttp(`hello from ${id}\n`)
    const trust = machine.fetcher === 'busybox wget' ? [...overHttp(), ...pin(...slaveKeys)] : overHttps()
    const device = startDevice({ ...machine, key, args: [...trust, '--forward', `0:localhost:${web.port}`] })
    const [, port] = await device.waitForOutput(UP)
    const page = await visit({ host: '127.0.0.1', port: Number(port) }, 'GET / HTTP/1.0\r\n\r\n')
    expect(page.toString()).toContain(`hello from ${id}`)
    const { status, stdout } = await device.status()
    expect(stdout).toMatch(/running: +yes[^]*tunnel: +up since 2[^]*last error: +none/)
    expect(stdout).toMatch(new RegExp(`ports there: +${port}\n`))
    expect(stdout).toContain(key.wire)
    expect(status).toBe(0)
    device.signal('SIGTERM')
    expect(await device.exited).toEqual({ status: 0, signal: null })
    await eventually(async () => expect(await tunnelOf(id)).toBeUndefined())
    expect(await device.status()).toMatchObject({ status: 3, stdout: expect.stringMatching(/running: +no/) })
  })
})

describe.each([
  { shell: 'dash', client: 'openssh' },
  { shell: 'ash', client: 'dropbear' },
] as const)('under $shell with $client', (machine) => {
  test('it makes its key, says the public half, is refused for longer and longer, and says why', async () => {
    const device = startDevice({ ...machine, env: { SSHOAL_DEVICE_BACKOFF_MAX_MS: '100' } })
    const [, line = ''] = await device.waitForOutput(/its public half:\n.*((?:ssh|ecdsa)-\S+ \S+)/)
    await device.waitForOutput(/(next try in [^]*){3}/)
    expect(device.output).toMatch(/this device's key is refused: .*the key SHA256:\S+ is not known here/)
    const delays = [...device.output.matchAll(/next try in ([\d.]+) s/g)].map(([, seconds]) =>
      Number(seconds),
    )
    // Doubled each time, of which at least one half is waited; an ordinary failure would wait at most 0.1 s.
    for (const [n, least] of [0.4, 0.8, 1].entries()) {
      expect(delays[n]).toBeGreaterThanOrEqual(least)
      expect(delays[n]).toBeLessThanOrEqual(2)
    }
    expect(await device.status()).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('is not known here'),
    })

    const id = `device-${++devices}`
    await cluster.api('POST', '/devices', { id, keys: [line] })
    device.signal('SIGHUP')
    await device.waitForOutput(UP)
    expect((await tunnelOf(id))?.device).toBe(id)
  })

  test('sent away, it comes back at once, also when its client calls that a success', async () => {
    const { id, key } = await enrol(machine.client)
    const device = startDevice({ ...machine, key })
    await device.waitForOutput(UP)
    await eventually(async () => expect(await tunnelOf(id)).toBeDefined())
    expect((await cluster.api('POST', `/devices/${id}/kick`)).status).toBeLessThan(300)
    await device.waitForOutput(/the tunnel ended after 0 s: .*[^]*next try in 0\.[^]*the tunnel is up/)
    if (machine.client === 'dropbear') expect(device.output).toContain('(dropbear ended with 0)')
  })

  test('it does not log in where the host key is another than the pinned one, and says so', async () => {
    const { id, key } = await enrol(machine.client)
    const [type, wire] = (await makeKey(makeFolder())).publicKey.split(' ')
    // Over verified HTTPS the master names the right key; a pin counts alone.
    const device = startDevice({
      ...machine,
      key,
      args: [...overHttps(), ...pin(`127.0.0.1 ${type} ${wire}`)],
    })
    await device.waitForOutput(
      /the host key that 127\.0\.0\.1 port \d+ shows is not among those that \S+ names/,
    )
    await device.waitForOutput(/next try in/)
    expect(device.output).not.toMatch(UP)
    expect(await tunnelOf(id)).toBeUndefined()
    expect(await device.status()).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('did not log in'),
    })
  })

  test('several keys of one type may be pinned for one host', async () => {
    const { key } = await enrol(machine.client)
    const [type, wire] = (await makeKey(makeFolder())).publicKey.split(' ')
    const lines = [
      `* ${type} ${wire}`,
      ...slaveKeys.map((line) => line.replace(/^\S+/, '10.0.0.1,127.0.0.*')),
    ]
    const device = startDevice({
      ...machine,
      key,
      args: [...overHttp(), ...pin('# all of them', '', ...lines)],
    })
    await device.waitForOutput(UP)
    expect(device.output).not.toContain('next try in')
  })

  test('a forward without a port 0, of which no client says that it stands, counts as up in the end', async () => {
    const { id, key } = await enrol(machine.client)
    const args = [...overHttps(), '--forward', 'barn:22:localhost:22']
    const device = startDevice({ ...machine, key, args, env: { SSHOAL_DEVICE_LOGIN_MS: '1500' } })
    await device.waitForOutput(/the tunnel is up on 127\.0\.0\.1 port \d+\n/)
    expect(await tunnelOf(id)).toMatchObject({ forwards: [{ bindAddress: 'barn' }] })
  })
})

describe('host keys count only', () => {
  test.each(['curl', 'wget'] as const)('over HTTPS that %s could verify', async (fetcher) => {
    const { id, key } = await enrol()
    const other = await makeCertificate(makeFolder())
    const device = startDevice({ fetcher, key, args: ['--master', secure, '--ca', other.path] })
    await device.waitForOutput(/no slot from https:.*certificate[^]*next try in/)
    expect(device.output).not.toMatch(/slot from https:\S+ 127|connecting to/)
    expect(await tunnelOf(id)).toBeUndefined()
  })

  test('over HTTPS whose certificate names the host that was asked', async () => {
    const { key } = await enrol()
    const elsewhere = await makeCertificate(makeFolder(), ['DNS:elsewhere.test'])
    const url = await startTlsFront(cluster.master.url, elsewhere)
    const device = startDevice({ key, args: ['--master', url, '--ca', elsewhere.path] })
    await device.waitForOutput(/no slot from https:.*(subject name|alternative)[^]*next try in/)
    expect(device.output).not.toContain('connecting to')
  })

  test('never from busybox wget, which takes any certificate', async () => {
    const { key } = await enrol()
    // Its own TLS knows only what RSA and SHA-1 can do.
    const rsa = await makeCertificate(makeFolder(), undefined, 'rsa')
    const url = await startTlsFront(cluster.master.url, rsa, { ciphers: 'DEFAULT:@SECLEVEL=0' })
    const device = startDevice({ shell: 'ash', fetcher: 'busybox wget', key, args: ['--master', url] })
    await device.waitForOutput(
      /cannot verify certificates[^]*install curl or GNU wget, or give --known-hosts FILE/,
    )
    await device.waitForOutput(
      /no host key of 127\.0\.0\.1 port \d+ can be trusted, so nothing is sent there/,
    )
    expect(device.output).not.toContain('connecting to')
  })

  test('never over plain HTTP', async () => {
    const { key } = await enrol()
    const device = startDevice({ key, args: overHttp() })
    expect((await device.exited).status).toBe(2)
    expect(device.output).toContain('give an https:// master, or --known-hosts FILE')
    // With an https master that is away the slot may come over http, but not its keys.
    const mixed = startDevice({ key, args: ['--master', 'https://127.0.0.1:1', ...overHttp()] })
    await mixed.waitForOutput(/no slot from https:[^]*no host key of 127\.0\.0\.1 port \d+ can be trusted/)
    expect(mixed.output).not.toContain('connecting to')
  })
})

test('an answer that is no slot is not given to the SSH client', async () => {
  const { key } = await enrol()
  const web = await startHttp('-oProxyCommand=true 22\n')
  const device = startDevice({
    key,
    args: ['--master', `http://127.0.0.1:${web.port}`, ...pin(...slaveKeys)],
  })
  await device.waitForOutput(/no slot from http:\S+: the answer is no slot/)
  expect(device.output).not.toContain('connecting to')
})

test('the connect token is sent in the header, and is on no command line', async () => {
  const { key } = await enrol()
  const seen: string[] = []
  const master = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      seen.push(chunk.toString())
      socket.end('HTTP/1.1 401 Unauthorized\r\ncontent-length: 29\r\n\r\n{"error":"no, not with that"}')
    })
  })
  await new Promise<void>((resolve) => master.listen(0, '127.0.0.1', resolve))
  atEnd(() => master.close())
  const url = `http://127.0.0.1:${(master.address() as AddressInfo).port}`
  const tokenFile = join(makeFolder(), 'token')
  writeFileSync(tokenFile, 'a-secret\n')
  const args = [
    '--master',
    url,
    ...pin(...slaveKeys),
    '--token-file',
    tokenFile,
    '--region',
    'eu',
    '--port',
    '443',
  ]
  for (const fetcher of ['curl', 'wget'] as const) {
    const device = startDevice({ key, fetcher, args })
    await device.waitForOutput(/no slot from http:\S+: (401|.*Authentication Failed)/)
    if (fetcher === 'curl') expect(device.output).toContain('401 no, not with that')
    const [request = ''] = seen.splice(0)
    expect(request).toMatch(/^GET \/connect\?format=text&region=eu&port=443 HTTP/)
    expect(request).toMatch(/\r\nAuthorization: Bearer a-secret\r\n/)
    await device.stop()
  }
})

describe('signals', () => {
  const childrenOf = async (pid: number): Promise<number[]> => {
    const { stdout } = await run('ps', ['-o', 'pid=', '--ppid', String(pid)])
    return stdout.split('\n').filter(Boolean).map(Number)
  }

  test.each(['dash', 'ash'] as const)('SIGHUP connects anew at once (%s)', async (shell) => {
    const { id, key } = await enrol()
    const device = startDevice({ shell, key })
    await device.waitForOutput(UP)
    const first = await eventually(async () => (await tunnelOf(id))?.epoch ?? false)
    device.signal('SIGHUP')
    await device.waitForOutput(/SIGHUP: connecting anew[^]*the tunnel is up/)
    expect(device.output).not.toContain('next try in')
    await eventually(async () => expect((await tunnelOf(id))?.epoch).toBeGreaterThan(first))
  })

  test.each(['dash', 'ash'] as const)(
    'SIGTERM leaves nothing behind, whatever it is at (%s)',
    async (shell) => {
      const { key } = await enrol()
      const silent = createServer(() => {})
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
      atEnd(() => silent.close())
      const nobody = `https://127.0.0.1:${(silent.address() as AddressInfo).port}`
      const slow = { SSHOAL_DEVICE_BACKOFF_MIN_MS: '60000', SSHOAL_DEVICE_BACKOFF_MAX_MS: '60000' }
      const cases: [string[], RegExp][] = [
        [overHttps(), UP],
        [['--master', 'https://127.0.0.1:1'], /next try in/],
        [['--master', nobody], /started/],
      ]
      for (const [args, moment] of cases) {
        const device = startDevice({ shell, key, args, env: { ...slow, SSHOAL_DEVICE_ASK_MS: '60000' } })
        await device.waitForOutput(moment)
        const children = await eventually(async () => {
          const found = await childrenOf(device.pid)
          return found.length > 0 ? found : false
        })
        const began = performance.now()
        device.signal('SIGTERM')
        expect(await device.exited).toEqual({ status: 0, signal: null })
        expect(performance.now() - began).toBeLessThan(2_000)
        await eventually(() => expect(children.filter(isAlive)).toEqual([]), { within: 1_500 })
      }
    },
  )

  test('a second one for the same device does not start', async () => {
    const { key } = await enrol()
    const first = startDevice({ key })
    await first.waitForOutput(UP)
    const second = startDevice({ key, state: first.state })
    expect((await second.exited).status).toBe(1)
    expect(second.output).toContain(`already running (process ${first.pid})`)
  })
})

test('each step is one line on standard error and one for syslog, which gets none when the journal listens', async () => {
  const { key } = await enrol()
  const folder = makeFolder()
  const logger = join(folder, 'logger')
  const log = join(folder, 'log')
  writeFileSync(logger, `#!/bin/sh\necho "$@" >>${log}\n`, { mode: 0o755 })
  const device = startDevice({ key, programs: { logger } })
  await device.waitForOutput(UP)
  await device.stop()
  const steps = device.stderr
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^sshoal-device: /, ''))
  expect(steps.map((step) => step.replace(/[ :].*/, ''))).toEqual([
    'started',
    'slot',
    'connecting',
    'the',
    'ended',
  ])
  expect(readFileSync(log, 'utf8').trimEnd().split('\n')).toEqual(
    steps.map((step) => `-t sshoal-device -p daemon.notice -- ${step}`),
  )
  writeFileSync(log, '')
  const journaled = startDevice({ key, programs: { logger }, env: { JOURNAL_STREAM: '8:1' } })
  await journaled.waitForOutput(UP)
  await journaled.stop()
  expect(readFileSync(log, 'utf8')).toBe('')
})
