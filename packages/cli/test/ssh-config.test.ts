// What `sshoal ssh-config` and `sshoal ssh` make of the master's answer: files, one Include, and a call of ssh.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { run, type Surroundings } from './command.ts'
import { startRestPeer } from './rest-peer.ts'

const answer = {
  config: `Host default.default.gate.sshoal
  HostName gate.example.com
  UserKnownHostsFile ~/.ssh/sshoal/known_hosts

Host door-7 7b0e1a52-0000-4000-8000-000000000000
  HostName door-7
  UserKnownHostsFile ~/.ssh/sshoal/known_hosts

Host web.door-7
  ProxyJump default.default.gate.sshoal
`,
  knownHosts: 'default.default.gate.sshoal ssh-ed25519 AAAA\n',
  gate: { name: 'default.default.gate.sshoal', host: 'gate.example.com', port: 22 },
}

function home(): string {
  const path = mkdtempSync(join(tmpdir(), 'sshoal-cli-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

async function call(words: string[], HOME: string, around: Surroundings = {}) {
  const peer = await startRestPeer(() => answer)
  const ran = await run(words, { cwd: HOME, ...around, env: { HOME, SSHOAL_URL: peer.url } })
  return { ...ran, asked: peer.asked.map(({ method, path }) => `${method} ${path}`) }
}

test('G034: without a switch the configuration goes to standard output', async () => {
  const { out, asked } = await call(['ssh-config', '--user', 'ann', '--gate', 'eu'], home())
  expect(out).toBe(answer.config)
  expect(asked).toEqual(['GET /ssh-config?user=ann&gate=eu'])
  expect((await call(['ssh-config', '--known-hosts'], home())).out).toBe(answer.knownHosts)
})

test('--install writes two files for their owner alone and one Include on top; again changes nothing more', async () => {
  const path = home()
  const main = join(path, '.ssh', 'config')
  mkdirSync(join(path, '.ssh'))
  writeFileSync(main, 'Host mine\n  User me\n', { mode: 0o644 })
  for (let times = 0; times < 2; times++) {
    expect(await call(['ssh-config', '--install'], path)).toMatchObject({ code: 0, err: '' })
    expect(readFileSync(main, 'utf8')).toBe(`Include "${path}/.ssh/sshoal/config"\nHost mine\n  User me\n`)
  }
  const config = readFileSync(join(path, '.ssh/sshoal/config'), 'utf8')
  expect(config.match(/UserKnownHostsFile .*/g)).toEqual(
    Array<string>(2).fill(`UserKnownHostsFile "${path}/.ssh/sshoal/known_hosts"`),
  )
  expect(readFileSync(join(path, '.ssh/sshoal/known_hosts'), 'utf8')).toBe(answer.knownHosts)
  expect(statSync(main).mode & 0o777).toBe(0o644)
  for (const name of ['config', 'known_hosts'])
    expect(statSync(join(path, '.ssh/sshoal', name)).mode & 0o777).toBe(0o600)
  expect(readdirSync(join(path, '.ssh/sshoal')).sort()).toEqual(['config', 'known_hosts'])
})

test('--uninstall leaves what was there before, and asks nobody', async () => {
  const path = home()
  mkdirSync(join(path, '.ssh'))
  writeFileSync(join(path, 'dotfile'), 'Host mine\n')
  symlinkSync('../dotfile', join(path, '.ssh/config'))
  await call(['ssh-config', '--install'], path)
  expect(readFileSync(join(path, 'dotfile'), 'utf8')).toMatch(/^Include .*\nHost mine\n$/)
  expect(await call(['ssh-config', '--uninstall'], path)).toMatchObject({ code: 0, asked: [] })
  expect(readFileSync(join(path, 'dotfile'), 'utf8')).toBe('Host mine\n')
  expect(readdirSync(join(path, '.ssh'))).toEqual(['config'])
  expect((await call(['ssh-config', '--uninstall'], path)).out).toBe('nothing was installed\n')
  // Where there was none before there is none after.
  const fresh = home()
  await call(['ssh-config', '--install'], fresh)
  await call(['ssh-config', '--uninstall'], fresh)
  expect(readdirSync(join(fresh, '.ssh'))).toEqual([])
})

test('G033: --write names the folder, --identity the key, which need not even be there', async () => {
  const path = home()
  const words = ['ssh-config', '--write', 'gate', '--identity', '/home/ann/my key']
  expect(await call(words, path)).toMatchObject({
    code: 0,
    out: `1 target in ${path}/gate/config: ssh -F ${path}/gate/config TARGET\n`,
  })
  const config = readFileSync(join(path, 'gate/config'), 'utf8')
  expect(config).toContain(
    'Host default.default.gate.sshoal\n  IdentityFile "/home/ann/my key"\n  IdentitiesOnly yes\n  HostName gate.example.com\n',
  )
  expect(config.match(/IdentityFile/g)).toHaveLength(3)
})

test('G038: a path that would be more than a path to ssh is refused, and nothing is written', async () => {
  for (const name of ['a"b', 'a\nHost *', 'a%h', 'a$HOME', 'a*']) {
    const path = join(home(), name)
    mkdirSync(path)
    expect(await call(['ssh-config', '--install'], path)).toMatchObject({ code: 1 })
    expect(existsSync(join(path, '.ssh'))).toBe(false)
  }
})

test('only one switch at a time', async () => {
  const path = home()
  expect(await call(['ssh-config', '--install', '--write', 'x'], path)).toMatchObject({ code: 1, asked: [] })
})

test('sshoal ssh runs ssh with files that are gone afterwards, and hands on all words and the exit code', async () => {
  const path = home()
  mkdirSync(join(path, '.ssh'))
  writeFileSync(join(path, '.ssh/config'), 'Host *\n  ForwardAgent yes\n')
  let config = ''
  const ran = await call(['ssh', 'root@Door-7', '-L', '8080:localhost:80', '--', '--json', '-x'], path, {
    attach(_command, args) {
      config = readFileSync(args[1] ?? '', 'utf8')
      return 7
    },
  })
  expect(ran.code).toBe(7)
  const [command, , file = '', ...rest] = ran.attached[0] ?? []
  expect(command).toBe('ssh')
  expect(rest).toEqual(['root@door-7', '-L', '8080:localhost:80', '--', '--json', '-x'])
  expect(existsSync(file)).toBe(false)
  expect(config.indexOf('Host door-7')).toBeLessThan(config.indexOf(`Include "${path}/.ssh/config"`))
})

test('a target without a block goes to the gate all the same, which says why not', async () => {
  const ran = await call(['ssh', 'door-8'], home())
  expect(ran.attached[0]?.slice(3)).toEqual(['-J', 'default.default.gate.sshoal', 'door-8'])
  const uuid = await call(['ssh', '7B0E1A52-0000-4000-8000-000000000000'], home())
  expect(uuid.attached[0]).toHaveLength(4)
})

test('what is no name never reaches ssh', async () => {
  for (const name of ['-oProxyCommand=x', 'a b', 'x@-oProxyCommand=y', 'a;b', '']) {
    const ran = await call(['ssh', '--', name], home())
    expect(ran.code).not.toBe(0)
    expect(ran.attached).toEqual([])
  }
})

test('an unknown flag before the target is ours and wrong, one after it is ssh’s', async () => {
  const { code, err } = await call(['ssh', '--usr', 'ann', 'door-7'], home())
  expect(code).toBe(2)
  expect(err).toContain('--usr: unknown flag; did you mean --user?')
})
