// A slave is an SSH server that runs nothing and needs no privilege: what clients ask for, and what they are told.

import { copyFileSync, chmodSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'

import { descendants } from '../kit/family.ts'
import {
  eventually,
  makeFolder,
  makeKey,
  openDevice,
  openVisit,
  run,
  start,
  startCluster,
  startEcho,
  takePorts,
  visit,
  type Cluster,
  type Key,
  type KeyType,
  type Slave,
} from '../kit/index.ts'

let cluster: Cluster
let slave: Slave
let folder: string
let key: Key

beforeAll(async () => {
  folder = makeFolder()
  cluster = await startCluster({ slaveFlags: ['--penalty', '0'] })
  const [only] = cluster.slaves
  if (only === undefined) throw new Error('no slave')
  slave = only
  key = await makeKey(folder)
  await cluster.addDevice('barn', key)
})

/** Stock `ssh`, with what a person might add to it. */
function ssh(
  args: string[],
  { as = key, command = [] as string[], input = undefined as string | undefined } = {},
) {
  const settings = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'BatchMode=yes']
  const trust = [...settings, 'IdentitiesOnly=yes', 'IdentityAgent=none'].flatMap((one) => ['-o', one])
  const to = ['-p', String(slave.port), '-i', as.path, ...args, ...trust, 'device@127.0.0.1', ...command]
  return run('ssh', ['-F', 'none', ...to], input === undefined ? {} : { input })
}

/** Everything that the slave started, ever: nothing. */
const children = (): number[] => descendants(slave.process.pid).map(({ pid }) => pid)

describe('nothing is ever run (T055)', () => {
  test.each([
    ['a command', ['-T'], ['id'], /exec request failed/],
    ['a command with a terminal', ['-tt'], ['id'], /exec request failed/],
    ['a subsystem', ['-s'], ['netconf'], /subsystem request failed/],
  ])('%s is refused, and told as an event', async (_name, args, command, words) => {
    const events = await cluster.events()
    const { status, stdout, stderr } = await ssh(args, { command })
    expect({ status, stdout }).toEqual({ status: 255, stdout: '' })
    expect(stderr).toMatch(words)
    expect(children()).toEqual([])
    // The same within a minute folds into one event, so the first says it and the list keeps it.
    if (_name === 'a command') await events.next('device.refused', { code: 'NO_SHELL', device: 'barn' })
    events.close()
  })

  test('sftp and scp are refused', async () => {
    const settings = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'BatchMode=yes']
    const trust = [...settings, 'IdentitiesOnly=yes'].flatMap((one) => ['-o', one])
    const common = ['-F', 'none', '-P', String(slave.port), '-i', key.path, ...trust]
    const sftp = await run('sftp', [...common, 'device@127.0.0.1:x', folder])
    const scp = await run('scp', [...common, '-O', key.path, 'device@127.0.0.1:x'])
    expect(sftp.status).not.toBe(0)
    expect(scp.status).not.toBe(0)
    expect(children()).toEqual([])
  })

  test('a shell is a text: who you are and which forwards stand, without disturbing them (T068)', async () => {
    const device = openDevice({ slave, key })
    const port = await device.port()
    const asked = openDevice({ slave, key, forwards: [], command: [], options: ['-tt'] })
    await asked.waitForOutput(/localhost:0 -> 127\.0\.0\.1:(\d+)/)
    expect(asked.output).toContain('sshoal: slave slave-1. There is no shell here.')
    expect(asked.output).toContain(`You are device barn (${key.fingerprint}).`)
    expect(asked.output).toContain(`-> 127.0.0.1:${port}`)
    await asked.exited
    expect(device.exit).toBeUndefined()
    expect(await cluster.tunnels()).toHaveLength(1)
    expect(children()).toEqual([])
    await device.stop()
  })

  test.each([
    ['Ctrl-C', '\u0003'],
    ['Ctrl-D', '\u0004'],
  ])('with a terminal %s ends it, with status 0', async (_name, input) => {
    const { status, stdout } = await ssh(['-tt'], { input })
    expect(status).toBe(0)
    expect(stdout).toContain('You are device barn')
    expect(stdout).toContain('\r\n')
  })

  test('without a terminal an EOF ends nothing: `ssh -R … < /dev/null` keeps its tunnel', async () => {
    const device = openDevice({ slave, key, command: [] })
    await device.waitForOutput(/There is no shell here/)
    const port = await device.port()
    // The client sent its EOF before the text came; a visit shows that all of it is still there.
    const open = await openVisit({ host: '127.0.0.1', port })
    open.close()
    expect(device.exit).toBeUndefined()
    await device.stop()
  })

  test('`-L`, `-W` and socket forwards of a device are refused, and the connection stays (T063, T065)', async () => {
    const { stderr } = await ssh(['-W', 'localhost:22'])
    expect(stderr).toContain('administratively prohibited: sshoal: this key may hold a tunnel')
    const unix = await ssh(['-N', '-o', 'ExitOnForwardFailure=yes', '-R', '/tmp/no.sock:localhost:22'])
    expect(unix).toMatchObject({
      status: 255,
      stderr: expect.stringContaining('remote port forwarding failed'),
    })
    const device = openDevice({
      slave,
      key,
      options: ['-o', 'ServerAliveInterval=1', '-o', 'ServerAliveCountMax=2'],
    })
    await device.port()
    // A global request that is not known is answered, so that the client's own keepalive works.
    const many = openDevice({
      slave,
      key,
      options: ['-R', '/tmp/no.sock:localhost:1', '-o', 'ExitOnForwardFailure=no'],
    })
    await many.port()
    await many.waitForOutput(/remote port forwarding failed for listen path/)
    expect(many.exit).toBeUndefined()
    await many.stop()
  })
})

describe('a login', () => {
  test('offers public keys and nothing else, and never a partial success (T057, T060)', async () => {
    const unknown = await makeKey(folder)
    const methods = 'PreferredAuthentications=none,password,keyboard-interactive,hostbased,publickey'
    const { status, stderr } = await ssh(['-v', '-o', methods], { as: unknown })
    expect(status).toBe(255)
    expect(stderr).toContain('Permission denied (publickey).')
    const offered = [...stderr.matchAll(/Authentications that can continue: (.*)/g)].map(([, list]) =>
      list?.trim(),
    )
    expect(new Set(offered)).toEqual(new Set(['publickey']))
    expect(stderr).not.toContain('partial success')
  })

  test('takes more than the public half of a key: a probe is answered, and lets nobody in (T058)', async () => {
    const half = { ...key, path: join(folder, 'half.pub') }
    copyFileSync(`${key.path}.pub`, half.path)
    chmodSync(half.path, 0o600)
    const { status, stderr, stdout } = await ssh(['-v'], { as: half })
    expect({ status, stdout }).toEqual({ status: 255, stdout: '' })
    expect(stderr).toContain('Server accepts key')
    expect(stderr).toContain('Permission denied (publickey).')
  })

  test.each([
    ['ed25519', undefined, undefined],
    ['ecdsa', 256, undefined],
    ['ecdsa', 384, undefined],
    ['ecdsa', 521, undefined],
    ['rsa', 2048, 'rsa-sha2-256'],
    ['rsa', 3072, 'rsa-sha2-512'],
  ] as [KeyType, number | undefined, string | undefined][])(
    'takes an %s key (%s bits, %s) (T059, T154)',
    async (type, bits, algorithm) => {
      const mine = await makeKey(folder, type, bits)
      await cluster.addDevice(`key-${type}-${bits ?? ''}${algorithm ?? ''}`, mine)
      const options = algorithm === undefined ? [] : ['-o', `PubkeyAcceptedAlgorithms=${algorithm}`]
      expect(await openDevice({ slave, key: mine, options }).port()).toBeGreaterThan(0)
    },
  )

  test('takes no SHA-1 signature and no weak key (T059)', async () => {
    const rsa = await makeKey(folder, 'rsa', 2048)
    await cluster.addDevice('old-timer', rsa)
    const old = await ssh(['-o', 'PubkeyAcceptedAlgorithms=ssh-rsa'], { as: rsa })
    expect(old).toMatchObject({ status: 255, stderr: expect.stringContaining('Permission denied') })
    const weak = await makeKey(folder, 'rsa', 1024)
    const answer = await cluster.api('POST', '/devices', { id: 'weak', keys: [weak.publicKey] })
    expect(answer).toMatchObject({ status: 400, body: { code: 'INVALID_KEY' } })
    expect((await ssh([], { as: weak })).status).toBe(255)
  })
})

test('master and slave run as nobody, without any capability (T056)', async () => {
  const home = makeFolder()
  const data = join(home, 'data')
  mkdirSync(data)
  for (const path of [home, data]) chmodSync(path, 0o777)
  const ports = await takePorts()
  const build = new URL('../../dist/sshoal.mjs', import.meta.url).pathname
  const listen = ['--listen', '127.0.0.1:0', '--ssh-listen', '127.0.0.1:0']
  const up = ['up', '--data', data, ...listen, '--forward-ports', `${ports.first}-${ports.last}`]
  const drop = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--no-new-privs']
  const none = ['--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all']
  const running = start('setpriv', [...drop, ...none, process.execPath, build, ...up], { cwd: home })
  const [, url = ''] = await running.waitForOutput(/REST at (\S+),/)
  const [, port] = await running.waitForOutput(/"sshPort":(\d+)/)
  const status = readFileSync(`/proc/${running.pid}/status`, 'utf8')
  expect(status).toMatch(/^Uid:\s65534\s65534\s65534\s65534$/m)
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    expect(status).toMatch(new RegExp(`^${set}:\\s0+$`, 'm'))
  const token = readFileSync(join(data, 'admin-token'), 'utf8').trim()
  const mine = await makeKey(folder)
  const made = await fetch(`${url}/devices`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ id: 'barn', keys: [mine.publicKey] }),
  })
  expect(made.status).toBe(201)
  const echo = await startEcho({ whole: true })
  const device = openDevice({
    slave: { host: '127.0.0.1', port: Number(port) },
    key: mine,
    forwards: [`0:localhost:${echo.port}`],
  })
  const to = { host: '127.0.0.1', port: await device.port() }
  expect((await eventually(() => visit(to, 'as nobody'))).toString()).toBe('as nobody')
})
