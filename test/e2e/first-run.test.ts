// What a newcomer meets: one command, an address, the place of the token, and three lines to copy.

import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'

import {
  callApi,
  createNetwork,
  eventually,
  makeFolder,
  masterReady,
  run,
  slaveReady,
  start,
  startSshd,
  startSshoal,
  takePorts,
  type ClusterView,
  type Sshoal,
} from '../kit/index.ts'

const checkout = fileURLToPath(new URL('../..', import.meta.url))

async function startUp(dataDir: string): Promise<Sshoal> {
  const ports = await takePorts()
  const range = `${ports.first}-${ports.last}`
  const listen = ['--listen', '127.0.0.1:0', '--ssh-listen', '127.0.0.1:0', '--forward-ports', range]
  return startSshoal(['up', '--data', dataDir, ...listen], { cwd: checkout })
}

/** The lines that are meant to be copied: a command, alone on its line. */
async function printedCommands(up: Sshoal): Promise<string[]> {
  return eventually(() => {
    const lines = up.stdout.split('\n').map((line) => line.trim().replace(/^\$ /, ''))
    const commands = lines.filter((line) => /^(npx sshoal|ssh|curl) /.test(line))
    if (commands.length < 3) throw new Error(`printed: ${up.stdout}`)
    return commands
  })
}

test('`sshoal up` on a fresh folder says its address, where the token is, and three lines to copy', async () => {
  const dataDir = makeFolder()
  const up = await startUp(dataDir)
  const { url } = await masterReady(up)
  const slave = await slaveReady(up)
  const commands = await printedCommands(up)
  expect(commands).toHaveLength(3)
  expect(commands.join('\n')).toMatch(/\bssh -N .*-R 0:localhost:22\b/)
  expect(commands.join('\n')).toContain(String(slave.port))
  expect(up.stdout).toContain(url)
  expect(up.stdout).toContain(join(dataDir, 'admin-token'))
  for (const file of ['admin-token', 'slave-token']) {
    expect(statSync(join(dataDir, file)).mode & 0o777).toBe(0o600)
    expect(up.output).not.toContain(readFileSync(join(dataDir, file), 'utf8').trim())
  }
})

test('the three lines work as printed, on a machine with nothing but a key and sshd', async () => {
  const network = await createNetwork({ hosts: { machine: [] } })
  const netns = network.netns('machine')
  const [dataDir, home] = [makeFolder(), makeFolder()]
  // OpenSSH takes the home of root from /etc/passwd: the fresh one is laid over it, for this command alone.
  const shell = (line: string) => ['-c', `mount --bind ${home} /root && export HOME=/root && ${line}`]
  const make = 'mkdir -m 700 .ssh && ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519'
  expect(await run('bash', shell(`cd && ${make}`), { netns })).toMatchObject({ status: 0 })
  // The last line logs in to this machine through the tunnel, as whoever copies it.
  const sshd = await startSshd(makeFolder(), { host: '127.0.0.1', port: 22, netns })
  sshd.authorize({ publicKey: readFileSync(join(home, '.ssh/id_ed25519.pub'), 'utf8').trim() })

  const up = startSshoal(['up', '--data', dataDir], { cwd: checkout, netns })
  const { url } = await masterReady(up)
  await slaveReady(up)
  for (const line of await printedCommands(up)) {
    const copied = start('bash', shell(line), { cwd: checkout, netns })
    if (/ -N /.test(line)) await copied.waitForOutput(/Allocated port \d+ for remote forward to localhost:22/)
    else expect({ line, ...(await copied.exited), output: copied.output }).toMatchObject({ line, status: 0 })
  }
  const token = readFileSync(join(dataDir, 'admin-token'), 'utf8').trim()
  const { body } = await callApi<ClusterView>({ url, token, netns }, 'GET', '/cluster')
  expect(body.totals).toMatchObject({ slaves: 1, tunnels: 1 })
})

test('a second `sshoal up` on the same folder is refused and says why', async () => {
  const dataDir = makeFolder()
  await masterReady(await startUp(dataDir))
  const second = await startUp(dataDir)
  expect((await second.exited).status).not.toBe(0)
  expect(second.output).toContain(dataDir)
})

test('the tokens stay the same when `sshoal up` is started again', async () => {
  const dataDir = makeFolder()
  const tokens = () => ['admin-token', 'slave-token'].map((file) => readFileSync(join(dataDir, file), 'utf8'))
  const first = await startUp(dataDir)
  await masterReady(first)
  const before = tokens()
  expect(await first.stop()).toMatchObject({ status: 0 })
  await masterReady(await startUp(dataDir))
  expect(tokens()).toEqual(before)
})

test('a signal while it still starts ends it in good order', async () => {
  const ends = Array.from({ length: 4 }, async () => {
    const up = await startUp(makeFolder())
    await masterReady(up)
    return (await up.stop()).status
  })
  expect(await Promise.all(ends)).toEqual([0, 0, 0, 0])
})
