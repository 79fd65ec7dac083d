// The kit itself, against stock servers: what it says about sshoal is worth as much as this.

import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import {
  asOwner,
  callApi,
  createNetwork,
  eventually,
  isAlive,
  makeDropbearKey,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  run,
  start,
  startEcho,
  startHttp,
  startSilent,
  startSshd,
  takePorts,
  visit,
  visitFrom,
} from '../kit/index.ts'

describe('waiting', () => {
  test('goes on as soon as the condition holds, and hands on what it found', async () => {
    let looks = 0
    expect(await eventually(() => (++looks > 3 ? 'found' : false))).toBe('found')
    expect(looks).toBe(4)
  })

  test('gives up in time, with the last failure', async () => {
    const never = eventually(() => expect(1).toBe(2), { within: 80, message: 'one is two' })
    await expect(never).rejects.toThrow(/not within 80 ms: one is two; last: .*expected 1 to be 2/)
  })

  test('gives up in time even when the look never comes back', async () => {
    await expect(eventually(() => new Promise(() => {}), { within: 80 })).rejects.toThrow(/not within 80 ms/)
  })
})

describe('processes', () => {
  const children: number[] = []
  afterAll(() => {
    expect(children).toHaveLength(4)
    expect(children.filter(isAlive)).toEqual([])
  })

  test('answer status, output and errors apart', async () => {
    const ran = await run('sh', ['-c', 'cat; echo oops >&2; exit 3'], { input: 'hello' })
    expect(ran).toMatchObject({ status: 3, signal: null, stdout: 'hello', stderr: 'oops\n' })
  })

  test('that do not exist end with a reason', async () => {
    expect(await run('no-such-program')).toMatchObject({
      status: 127,
      stderr: expect.stringMatching(/ENOENT/),
    })
  })

  test('show their output when they do not say what was awaited', async () => {
    const process = start('sh', ['-c', 'echo something else; exec sleep 1000'])
    await expect(process.waitForOutput(/ready/, 200)).rejects.toThrow(/no \/ready\/ within[^]*something else/)
    const dead = start('sh', ['-c', 'echo bad flag; exit 2'])
    await expect(dead.waitForOutput(/ready/)).rejects.toThrow(/ended with 2[^]*bad flag/)
  })

  test('get the signals themselves', async () => {
    const process = start('sh', ['-c', 'trap "echo hup" HUP; echo up; while :; do sleep 0.01; done'])
    await process.waitForOutput(/up/)
    process.signal('SIGHUP')
    await process.waitForOutput(/hup/)
    expect(await process.stop()).toEqual({ status: null, signal: 'SIGTERM' })
  })

  test('go with all their children, also with those in groups of their own', async () => {
    const family = start('bash', ['-c', 'sleep 1000 & echo $!; setsid sleep 1000 & echo $!; echo up; wait'])
    await family.waitForOutput(/up/)
    const pids = family.stdout.split('\n').slice(0, 2).map(Number)
    children.push(...pids)
    expect(pids.filter(isAlive)).toEqual(pids)
    await family.stop()
    await eventually(() => !pids.some(isAlive))
  })

  test('that nobody stopped end with their test (looked at afterwards)', () => {
    for (let n = 0; n < 2; n++) children.push(start('sh', ['-c', 'trap "" TERM; sleep 1000']).pid)
  })

  test('are ended by the caretaker when the test process is killed', async () => {
    const script = `
      import { spawn } from 'node:child_process'
      import { entrust } from '${new URL('../kit/caretaker.ts', import.meta.url).href}'
      const child = spawn('sleep', ['1000'], { detached: true })
      entrust('kill -KILL -- -' + child.pid)
      const other = spawn('sleep', ['1000'], { detached: true })
      entrust('kill -KILL -- -' + other.pid)()
      console.log('children ' + child.pid + ' ' + other.pid)
      setInterval(() => {}, 1000)`
    const dying = start('node', ['--import', 'tsx', '--input-type=module', '-e', script])
    const [, entrusted, released] = await dying.waitForOutput(/children (\d+) (\d+)/)
    expect(isAlive(Number(entrusted))).toBe(true)
    dying.signal('SIGKILL')
    await eventually(() => !isAlive(Number(entrusted)))
    expect(isAlive(Number(released))).toBe(true)
    process.kill(Number(released), 'SIGKILL')
  })
})

describe('what a test makes for others', () => {
  let shared = 0
  test('is kept for them', () => {
    shared = asOwner('file', () => start('sleep', ['1000'])).pid
  })

  test('and is still there', () => {
    expect(isAlive(shared)).toBe(true)
  })
})

describe('keys', () => {
  test('are what ssh-keygen says they are', async () => {
    const folder = makeFolder()
    for (const key of [await makeKey(folder), await makeKey(folder, 'ecdsa'), await makeKey(folder, 'rsa')]) {
      const { stdout } = await run('ssh-keygen', ['-l', '-f', key.path])
      expect(stdout).toContain(` ${key.fingerprint} `)
      expect(key.publicKey).toContain(key.wire)
    }
  })
})

describe('folders', () => {
  let folder = ''
  afterAll(() => {
    expect(existsSync(folder)).toBe(false)
  })

  test('are there during the test (and gone afterwards)', () => {
    folder = makeFolder()
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('ports', () => {
  test('are never given to two', async () => {
    const ranges = await Promise.all(Array.from({ length: 20 }, () => takePorts(60)))
    const ports = ranges.flatMap(({ first, last }) =>
      Array.from({ length: last - first + 1 }, (_, index) => first + index),
    )
    expect(new Set(ports).size).toBe(20 * 60)
  })
})

describe.each(['openssh', 'dropbear'] as const)('a device with %s', (client) => {
  const make = (folder: string) => (client === 'openssh' ? makeKey(folder) : makeDropbearKey(folder))

  test('is told its ports by a stock sshd, and visitors reach its services', async () => {
    const folder = makeFolder()
    const key = await make(folder)
    const slave = await startSshd(folder, { authorized: [key] })
    const echo = await startEcho()
    const web = await startHttp('from the device\n')
    const device = openDevice({
      slave,
      key,
      client,
      username: 'root',
      forwards: [`0:localhost:${echo.port}`, `0:localhost:${web.port}`],
    })
    const ports = [await device.port(), await device.port(1)]
    expect(new Set(ports).size).toBe(2)
    expect((await visit({ host: '127.0.0.1', port: ports[0] ?? 0 }, 'hello')).toString()).toBe('hello')
    const page = await run('curl', ['-s', `http://127.0.0.1:${ports[1]}/`])
    expect(page.stdout).toBe('from the device\n')
    await device.stop()
    await eventually(() => expect(openVisit({ host: '127.0.0.1', port: ports[0] ?? 0 })).rejects.toThrow())
  })

  test('insists on the host key it was given', async () => {
    const folder = makeFolder()
    const key = await make(folder)
    const slave = await startSshd(folder, { authorized: [key] })
    const connect = (hostKey: string) => {
      const [type, wire] = hostKey.split(' ')
      // The bare host does for both, on any port; dropbear knows no other form.
      return openDevice({
        slave,
        key,
        client,
        username: 'root',
        knownHosts: [`${slave.host} ${type} ${wire}`],
      })
    }
    expect(await connect(slave.hostKey.publicKey).port()).toBeGreaterThan(0)
    const fooled = connect((await makeKey(folder)).publicKey)
    expect((await fooled.exited).status).not.toBe(0)
    expect(fooled.output).toMatch(/host key/i)
  })

  test('that is refused says so instead of waiting', async () => {
    const folder = makeFolder()
    const slave = await startSshd(folder)
    const refused = openDevice({ slave, key: await make(folder), client, username: 'root' })
    await expect(refused.port()).rejects.toThrow(/ended with[^]*(Permission denied|No auth methods)/)
  })
})

describe('services', () => {
  test('echo after EOF, count their visitors, or keep silent', async () => {
    const echo = await startEcho({ whole: true })
    const held = await openVisit(echo)
    held.send('kept')
    expect((await visit(echo, Buffer.alloc(1 << 20, 'x'))).length).toBe(1 << 20)
    expect(held.received.length).toBe(0)
    expect([echo.accepted, echo.open]).toEqual([2, 1])
    held.halfClose()
    expect((await held.receive(4)).toString()).toBe('kept')
    await expect(visit(await startSilent(), 'anyone?', 100)).rejects.toThrow(/sends its EOF/)
  })
})

describe('a network of namespaces', () => {
  const hosts = {
    server: ['10.77.0.1/24', 'fd77::1/64'],
    device: ['fd77::2/64'],
    visitor: ['10.77.0.3/24', 'fd77::3/64'],
  }
  const ping = ['ping', '-c', '1', '-W', '1']
  let before = ''
  const outside = async (): Promise<string> => {
    const links = await run('ip', ['-o', 'link'])
    return links.stdout.replace(/\d+: /g, '')
  }
  beforeAll(async () => {
    before = await outside()
  })

  test('lets hosts reach each other by IPv4 and IPv6, and is gone afterwards', async () => {
    const network = await createNetwork({ hosts })
    expect(await network.exec('visitor', 'busybox', [...ping, '10.77.0.1'])).toMatchObject({ status: 0 })
    expect(await network.exec('device', 'busybox', [...ping, 'fd77::1'])).toMatchObject({ status: 0 })
    expect(await network.exec('device', 'busybox', [...ping, '10.77.0.1'])).not.toMatchObject({ status: 0 })
    expect(await outside()).toBe(before)
    const held = start('sleep', ['1000'], { netns: network.netns('device') })
    await network.remove()
    expect((await run('ip', ['netns', 'list'])).stdout).not.toContain(network.netns('device'))
    await held.exited
  })

  test('carries a tunnel that hangs while its device is cut off, and goes on when it is back', async () => {
    const network = await createNetwork({ hosts })
    const folder = makeFolder()
    const key = await makeKey(folder)
    const config = ['GatewayPorts yes']
    const server = network.netns('server')
    await startSshd(folder, { authorized: [key], host: '::', port: 22, netns: server, config })
    start('busybox', ['nc', '-ll', '-p', '7', '-e', 'cat'], { netns: network.netns('device') })
    const device = openDevice({
      slave: { host: 'fd77::1', port: 22 },
      key,
      username: 'root',
      forwards: ['[::]:0:[::1]:7'],
      netns: network.netns('device'),
    })
    const to = { host: '10.77.0.1', port: await device.port() }
    const visitor = network.netns('visitor')
    expect((await visitFrom(visitor, to, 'hello')).toString()).toBe('hello')
    await network.cut('device')
    expect(await network.exec('device', 'busybox', [...ping, 'fd77::1'])).not.toMatchObject({ status: 0 })
    const carrier = await network.exec('device', 'cat', ['/sys/class/net/eth0/carrier'])
    expect(carrier.stdout).toBe('1\n')
    const waiting = visitFrom(visitor, to, 'still there?')
    await network.restore('device')
    expect((await waiting).toString()).toBe('still there?')
    expect(device.exit).toBeUndefined()
  })

  test('has REST asked from one of its hosts', async () => {
    const network = await createNetwork({ hosts })
    const folder = makeFolder()
    writeFileSync(join(folder, 'thing.json'), '{"seen":true}')
    const args = ['httpd', '-f', '-p', '10.77.0.1:80', '-h', folder]
    start('busybox', args, { netns: network.netns('server') })
    const api = { url: 'http://10.77.0.1', netns: network.netns('visitor') }
    const found = await eventually(() => callApi(api, 'GET', '/thing.json'))
    expect(found).toMatchObject({ status: 200, body: { seen: true } })
    expect(found.headers.get('content-length')).toBe('13')
    expect(await callApi(api, 'GET', '/nothing')).toMatchObject({ status: 404 })
  })

  test('moves a host to other addresses', async () => {
    const network = await createNetwork({ hosts })
    await network.readdress('device', ['10.77.0.9/24'])
    expect(await network.exec('visitor', 'busybox', [...ping, '10.77.0.9'])).toMatchObject({ status: 0 })
    expect(await network.exec('visitor', 'busybox', [...ping, 'fd77::2'])).not.toMatchObject({ status: 0 })
  })
})
