// The device script when things break: the master, the slave, the network.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { startDeviceScript, type DeviceScriptOptions } from '../kit/device-script.ts'
import {
  createNetwork,
  eventually,
  makeDropbearKey,
  makeFolder,
  makeKey,
  openVisit,
  run,
  start,
  startCluster,
  startEcho,
  startHttp,
  startMaster,
  startSilent,
  startSlave,
  startSshd,
  callApi,
  visitFrom,
} from '../kit/index.ts'
import { makeCertificate, startTlsFront } from '../kit/tls.ts'

const UP = /the tunnel is up on \S+ port (\d+); its ports there: (\d+)/

test('the master is killed: the tunnel lives, and a device that starts anew finds the slots that worked', async () => {
  const cluster = await startCluster({ slaves: 2 })
  const certificate = await makeCertificate(makeFolder())
  const secure = await startTlsFront(cluster.master.url, certificate)
  const echo = await startEcho()
  const key = await makeDropbearKey(makeFolder())
  await cluster.addDevice('barn', key)
  const options: DeviceScriptOptions & { state: string } = {
    shell: 'ash',
    client: 'dropbear',
    key,
    state: makeFolder(),
    args: ['--master', secure, '--ca', certificate.path, '--forward', `0:localhost:${echo.port}`],
  }
  const device = startDeviceScript(options)
  const [, sshPort, port] = await device.waitForOutput(UP)
  const visitor = await openVisit({ host: '127.0.0.1', port: Number(port) })
  const say = async (words: string): Promise<void> => {
    const before = visitor.received.length
    visitor.send(words)
    await visitor.receive(before + words.length)
    expect(visitor.received.subarray(before).toString()).toBe(words)
  }
  await say('before')
  cluster.master.process.signal('SIGKILL')
  await cluster.master.process.exited
  await say('the master is gone')
  expect(device.exit).toBeUndefined()
  await device.stop()

  // A slot that no longer works is remembered before the one that does.
  const slots = join(options.state, 'slots')
  expect(readFileSync(slots, 'utf8')).toMatch(new RegExp(`^127\\.0\\.0\\.1 ${sshPort} ssh-ed25519 \\S+\n$`))
  writeFileSync(slots, `127.0.0.1 1 ssh-ed25519 AAAA\n${readFileSync(slots, 'utf8')}`)
  const again = startDeviceScript(options)
  await again.waitForOutput(/slot that worked before: 127\.0\.0\.1 port 1\n/)
  const [, samePort] = await again.waitForOutput(UP)
  expect(samePort).toBe(sshPort)
  // The one that worked is tried first the next time.
  await eventually(() =>
    expect(readFileSync(slots, 'utf8')).toMatch(new RegExp(`^127\\.0\\.0\\.1 ${sshPort} `)),
  )
  // With the master back it asks there first again.
  await cluster.restartMaster('SIGKILL')
  await eventually(async () =>
    expect((await cluster.tunnels()).map(({ device }) => device)).toEqual(['barn']),
  )
  again.signal('SIGHUP')
  await again.waitForOutput(/SIGHUP: connecting anew[^]*slot from https:[^]*the tunnel is up/)
})

test('the slave is killed: the device moves to another', async () => {
  const cluster = await startCluster({ slaves: 2 })
  const certificate = await makeCertificate(makeFolder())
  const secure = await startTlsFront(cluster.master.url, certificate)
  const key = await makeKey(makeFolder())
  await cluster.addDevice('barn', key)
  const device = startDeviceScript({ key, args: ['--master', secure, '--ca', certificate.path] })
  const [, sshPort] = await device.waitForOutput(UP)
  const held = cluster.slaves.find(({ port }) => String(port) === sshPort)
  const other = cluster.slaves.find((slave) => slave !== held)
  held?.process.signal('SIGKILL')
  await device.waitForOutput(
    new RegExp(`the tunnel ended after [^]*the tunnel is up on \\S+ port ${other?.port};`),
  )
  await eventually(async () =>
    expect(await cluster.tunnels()).toMatchObject([{ device: 'barn', slave: other?.id }]),
  )
})

test.each([
  { shell: 'dash', client: 'openssh' },
  { shell: 'ash', client: 'dropbear' },
] as const)(
  'the network of a device is cut and comes back: so does its tunnel ($client)',
  async ({ shell, client }) => {
    const network = await createNetwork({ hosts: { server: ['10.77.0.1/24'], device: ['10.77.0.2/24'] } })
    const server = network.netns('server')
    const open = { netns: server, flags: ['--insecure-http'] }
    const master = await startMaster({ ...open, listen: '10.77.0.1:8080' })
    const slave = await startSlave({
      master,
      id: 'slave-1',
      netns: server,
      sshListen: '10.77.0.1:2222',
      flags: ['--public-host', '10.77.0.1', '--forward-address', '10.77.0.1'],
    })
    const key = await (client === 'openssh' ? makeKey : makeDropbearKey)(makeFolder())
    const api = { url: master.url, token: master.adminToken, netns: server }
    expect(await callApi(api, 'POST', '/devices', { id: 'barn', keys: [key.publicKey] })).toMatchObject({
      status: 201,
    })
    const { body } = await eventually(async () => {
      const answer = await callApi<string>(api, 'GET', '/connect?format=text')
      return answer.status === 200 ? answer : false
    })
    const pinned = join(makeFolder(), 'known_hosts')
    writeFileSync(pinned, body.split('\n').slice(1).join('\n'))

    const netns = network.netns('device')
    start('busybox', ['nc', '-ll', '-p', '7', '-e', 'cat'], { netns })
    const device = startDeviceScript({
      shell,
      client,
      key,
      netns,
      env: { SSHOAL_DEVICE_ASK_MS: '500', SSHOAL_DEVICE_LOGIN_MS: '2000' },
      args: [
        '--master',
        master.url,
        '--known-hosts',
        pinned,
        '--forward',
        '0:127.0.0.1:7',
        '--keepalive',
        '1',
      ],
    })
    const [, , port] = await device.waitForOutput(UP)
    await network.cut('device')
    // It notices by its own keepalive; then neither the master nor the slot that worked before answers.
    await device.waitForOutput(/the tunnel ended after [^]*no slot from http:[^]*slot that worked before: /)
    expect(await device.status()).toMatchObject({ status: 1, stdout: expect.stringMatching(/tunnel: +down/) })
    await network.restore('device')
    await device.waitForOutput(/the tunnel ended after [^]*the tunnel is up/)
    const [, samePort] = [...device.output.matchAll(new RegExp(UP, 'g'))].at(-1)?.slice(1) ?? []
    // One tunnel of one device: the new one took over from the one that was cut, with its port.
    expect(samePort).toBe(port)
    const to = { host: '10.77.0.1', port: Number(samePort) }
    expect((await visitFrom(server, to, 'back again')).toString()).toBe('back again')
    expect(slave.process.exit).toBeUndefined()
  },
)

/** Its waiting times so far, in milliseconds. */
const delays = (output: string): number[] =>
  [...output.matchAll(/next try in ([\d.]+) s/g)].map(([, seconds]) => Number(seconds) * 1_000)

function expectBetween(found: number[], bounds: [number, number][]): void {
  for (const [n, [least, most]] of bounds.entries()) {
    expect(found[n]).toBeGreaterThanOrEqual(least)
    expect(found[n]).toBeLessThanOrEqual(most)
  }
}

test.each(['dash', 'ash'] as const)(
  'it waits longer from failure to failure, to a limit (%s)',
  async (shell) => {
    const env = { SSHOAL_DEVICE_BACKOFF_MIN_MS: '60', SSHOAL_DEVICE_BACKOFF_MAX_MS: '200' }
    const device = startDeviceScript({ shell, env, args: ['--master', 'https://127.0.0.1:1'] })
    await device.waitForOutput(/(next try in [^]*){5}/)
    const bounds: [number, number][] = [
      [30, 60],
      [60, 120],
      [100, 200],
      [100, 200],
      [100, 200],
    ]
    expectBetween(delays(device.output), bounds)
    // Devices that fail together do not come back together.
    expect(new Set(delays(device.output)).size).toBeGreaterThan(2)
  },
)

/** A master that only knows one slot. */
const masterOf = async (host: string, port: number): Promise<string> =>
  `http://127.0.0.1:${(await startHttp(`${host} ${port}\n`)).port}`

function pinAny(...publicKeys: string[]): string[] {
  const file = join(makeFolder(), 'known_hosts')
  writeFileSync(file, publicKeys.map((key) => `* ${key}\n`).join(''))
  return ['--known-hosts', file]
}

test('a tunnel that was up for a while resets the waiting time, a short one does not', async () => {
  const folder = makeFolder()
  const key = await makeKey(folder)
  const sshd = await startSshd(folder, { authorized: [key] })
  const args = [
    '--master',
    await masterOf(sshd.host, sshd.port),
    ...pinAny(sshd.hostKey.publicKey),
    '--user',
    'root',
  ]
  const breakTwice = async (stable: string): Promise<number[]> => {
    const env = {
      SSHOAL_DEVICE_STABLE_MS: stable,
      SSHOAL_DEVICE_BACKOFF_MIN_MS: '100',
      SSHOAL_DEVICE_BACKOFF_MAX_MS: '5000',
    }
    const device = startDeviceScript({ key, args, env })
    for (const times of [1, 2]) {
      await device.waitForOutput(new RegExp(`(the tunnel is up[^]*){${times}}`))
      const client = await run('pgrep', ['-x', '-P', String(device.pid), 'ssh'])
      process.kill(Number(client.stdout), 'SIGKILL')
      await device.waitForOutput(new RegExp(`(next try in[^]*){${times}}`))
    }
    return delays(device.output)
  }
  const [long, short] = await Promise.all([breakTwice('1'), breakTwice('60000')])
  expectBetween(long, [
    [50, 100],
    [50, 100],
  ])
  expectBetween(short, [
    [50, 100],
    [100, 200],
  ])
})

test.each(['openssh', 'dropbear'] as const)(
  'a slave with an IPv6 address is reached with %s',
  async (client) => {
    const folder = makeFolder()
    const key = await (client === 'openssh' ? makeKey : makeDropbearKey)(folder)
    const sshd = await startSshd(folder, { authorized: [key], host: '::1' })
    const args = [
      '--master',
      await masterOf('::1', sshd.port),
      ...pinAny(sshd.hostKey.publicKey),
      '--user',
      'root',
    ]
    const device = startDeviceScript({ client, key, args })
    await device.waitForOutput(/the tunnel is up on ::1 port/)
  },
)

test.each(['openssh', 'dropbear'] as const)(
  'a slave that says nothing does not hold %s for ever',
  async (client) => {
    const silent = await startSilent()
    const key = await (client === 'openssh' ? makeKey : makeDropbearKey)(makeFolder())
    const env = { SSHOAL_DEVICE_LOGIN_MS: '700' }
    const args = ['--master', await masterOf(silent.host, silent.port), ...pinAny('ssh-ed25519 AAAA')]
    const device = startDeviceScript({ client, key, args, env })
    await device.waitForOutput(/no forward stood within 0\.700 s[^]*next try in/)
    await eventually(() => expect(silent.accepted).toBeGreaterThan(1))
  },
)
