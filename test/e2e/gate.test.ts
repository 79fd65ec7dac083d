// The gate with stock clients: ssh, scp, sftp, rsync to devices behind NAT by name, on the same slave and on another.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { beforeAll, describe, expect, test } from 'vitest'

import { startGateWorld, type GateWorld, type HeldDevice, type Person } from '../kit/gate.ts'
import {
  callApi,
  makeFolder,
  makeKey,
  openVisit,
  run,
  runSshoal,
  start,
  startHttp,
  takePorts,
  type Ran,
  type Started,
} from '../kit/index.ts'
import { of } from '../kit/masters.ts'
import { startSshd } from '../kit/sshd.ts'

let world: GateWorld
let ann: Person
let near: HeldDevice
let far: HeldDevice

beforeAll(async () => {
  world = await startGateWorld()
  const web = await startHttp('the page of the device')
  const forwards = [`0:${world.sshd.host}:${world.sshd.port}`, `web:80:${web.host}:${web.port}`]
  near = await world.device('near-1', 0, { forwards })
  far = await world.device('Far_1', 1, { forwards })
  await world.ok('POST', '/pools', { name: 'doors', members: ['near-1', await nameOf('Far_1')] })
  ann = await world.person('ann')
  await world.grant('ann', { pool: 'doors', forwards: ['22', 'web'] })
})

interface TargetView {
  name: string
  uuid: string
  device?: string
}

async function targetOf(device: string): Promise<TargetView> {
  const { targets } = await world.ok<{ targets: TargetView[] }>('GET', `/targets?q=${device}`)
  const found = targets.find((target) => target.device === device)
  if (!found) throw new Error(`no target of ${device}: ${JSON.stringify(targets)}`)
  return found
}

const nameOf = async (device: string): Promise<string> => (await targetOf(device)).name

function expectDone(ran: Ran): void {
  expect(ran.status, ran.stderr).toBe(0)
}

describe('with the files that the master writes', () => {
  test('G001 G004 G014: ssh -F reaches a device by name, on the same slave and on another', async () => {
    for (const device of [near, far]) {
      const ran = await ann.ssh([await nameOf(device.id), 'echo', '$SSH_CONNECTION', 'is here'])
      expectDone(ran)
      expect(ran.stdout).toMatch(/is here\n$/)
    }
  })

  test('G015: the UUID of a target works as its name does, and at the gate case does not count', async () => {
    const { uuid, name } = await targetOf('Far_1')
    const { gate } = await ann.files()
    // ssh itself tells apart what it looks up in its configuration.
    for (const words of [[uuid], ['-J', gate, uuid.toUpperCase()], ['-J', gate, name.toUpperCase()]]) {
      const ran = await ann.ssh([...words, 'echo', 'here'])
      expect(ran.stdout, ran.stderr).toBe('here\n')
    }
  })

  test('scp and sftp carry files both ways', async () => {
    const folder = makeFolder()
    const { config } = await ann.files()
    const name = await nameOf('Far_1')
    const bytes = Buffer.alloc(300_000, 'sshoal')
    writeFileSync(join(folder, 'sent'), bytes)
    expectDone(await run('scp', ['-F', config, join(folder, 'sent'), `${name}:${folder}/there`]))
    expectDone(await run('scp', ['-F', config, `${name}:${folder}/there`, join(folder, 'back')]))
    expect(readFileSync(join(folder, 'back')).equals(bytes)).toBe(true)
    const batch = `put ${folder}/sent ${folder}/by-sftp\nls ${folder}\n`
    expectDone(await run('sftp', ['-F', config, '-b', '-', name], { input: batch }))
    expect(readFileSync(join(folder, 'by-sftp')).equals(bytes)).toBe(true)
  })

  test('rsync -e ssh carries a folder', async () => {
    const from = makeFolder()
    const to = makeFolder()
    const { config } = await ann.files()
    writeFileSync(join(from, 'a'), 'one')
    writeFileSync(join(from, 'b'), 'two')
    const name = await nameOf('Far_1')
    expectDone(await run('rsync', ['-a', '-e', `ssh -F ${config}`, `${from}/`, `${name}:${to}/`]))
    expect(readFileSync(join(to, 'b'), 'utf8')).toBe('two')
  })

  test('ssh -L through a target reaches what the target reaches', async () => {
    const inside = await startHttp('inside')
    const local = await ann.open('near-1')
    // A visit of the gate itself first: the target's own greeting.
    const greeting = await openVisit(local.address)
    expect((await greeting.receive(8)).toString()).toMatch(/^SSH-2\.0-/)
    const { first: port } = await takePorts(1)
    const words = ['-v', '-N', '-L', `127.0.0.1:${port}:${inside.host}:${inside.port}`, 'near-1']
    const ssh = await ann.startSsh(words)
    // The ssh to the gate says it too.
    await ssh.waitForOutput(/Entering interactive session[^]*Entering interactive session/)
    expect(await (await fetch(`http://127.0.0.1:${port}`)).text()).toBe('inside')
  })

  test('NAME.TARGET reaches a named forward', async () => {
    const { address } = await ann.open(`web.${await nameOf('Far_1')}`, 80)
    expect(await (await fetch(`http://127.0.0.1:${address.port}`)).text()).toBe('the page of the device')
  })

  test('G031 G032 C23: host keys are pinned by alias, no agent goes along, and nothing is switched off', async () => {
    const { config, knownHosts } = await ann.files()
    const text = readFileSync(config, 'utf8')
    expect(text).not.toMatch(
      /StrictHostKeyChecking +no\b|ForwardAgent +yes|UserKnownHostsFile +\/dev\/null|\bnc\b/,
    )
    expect(text).toMatch(/HostKeyAlias/)
    const effective = await run('ssh', ['-F', config, '-G', 'near-1'])
    expect(effective.stdout).toMatch(/^forwardagent no$/m)
    expect(readFileSync(knownHosts, 'utf8')).toMatch(/ ssh-ed25519 AAAA/)
    // Even where the person's own configuration and command want one.
    const agent = start('ssh-agent', ['-D', '-a', join(world.folder, 'agent')])
    await agent.waitForOutput(/SSH_AUTH_SOCK/)
    const ran = await run('ssh', ['-F', config, 'near-1', 'echo "agent: $SSH_AUTH_SOCK"'], {
      env: { SSH_AUTH_SOCK: join(world.folder, 'agent') },
    })
    expect(ran.stdout).toBe('agent: \n')
  })

  test('C23: a gate with another host key is refused', async () => {
    const { config, knownHosts } = await ann.files()
    const another = await makeKey(world.folder)
    const lines = readFileSync(knownHosts, 'utf8').replaceAll(/ssh-ed25519 \S+/g, another.publicKey)
    writeFileSync(knownHosts, lines)
    const ran = await run('ssh', ['-F', config, 'near-1', 'true'])
    expect(ran.status).toBe(255)
    expect(ran.stderr).toMatch(/Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED/)
  })
})

describe('without any file', () => {
  const bare = (words: string[]): Started => {
    const settings = [
      'BatchMode=yes',
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
      `IdentityFile=${ann.key.path}`,
    ]
    const trust = [
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'GlobalKnownHostsFile=/dev/null',
    ]
    // A person answers questions and has the key where ssh looks for it; -J takes both from a file alone.
    const file = join(makeFolder(), 'own')
    writeFileSync(file, [...settings, ...trust].map((line) => `${line}\n`).join(''))
    return start('ssh', ['-F', file, ...words])
  }
  const gate = (n = 0): string => `ann@127.0.0.1:${of(world.all.slaves, n).port}`

  test('ssh -J GATE TARGET works, and the login name at the gate does not count', async () => {
    const at = `${world.account}@${await nameOf('Far_1')}`
    for (const jump of [gate(), gate().replace('ann', 'anybody')]) {
      const ssh = bare(['-J', jump, at, 'echo', 'here'])
      expect(await ssh.exited, ssh.output).toMatchObject({ status: 0 })
      expect(ssh.stdout).toBe('here\n')
    }
  })

  test('ssh GATE says who you are, what you may reach, what is online and what to type', async () => {
    await world.ok('POST', '/devices', { id: 'never-here' })
    const id = await world.grant('ann', { target: 'never-here', account: 'pi' })
    const [to = '', port = ''] = gate().split(':')
    const far = await nameOf('Far_1')
    const ssh = bare(['-T', '-p', port, to])
    await ssh.waitForOutput(/ssh -J /)
    for (const name of ['near-1', far, 'never-here']) await ssh.waitForOutput(new RegExp(name))
    expect(ssh.stdout).toMatch(/\bann\b/)
    expect(ssh.stdout).toMatch(/near-1.*online/)
    expect(ssh.stdout).toMatch(/never-here.*(offline|never)/)
    await world.ok('DELETE', `/grants/${id}`)
  })
})

describe('with the command', () => {
  /** What a person who is asked would say, for targets whose host keys are not pinned. */
  const trust = ['BatchMode=yes', 'StrictHostKeyChecking=accept-new', 'UserKnownHostsFile=/dev/null']
  const trusting = trust.flatMap((setting) => ['-o', setting])

  const sshoal = (words: string[], env: Record<string, string> = {}): Promise<Ran> => {
    const { url, dataDir } = of(world.all.masters, 0)
    return runSshoal(words, { cwd: world.folder, env: { SSHOAL_URL: url, SSHOAL_DATA: dataDir, ...env } })
  }

  test('G013: ssh-config --install makes plain ssh work, --uninstall leaves no trace', async () => {
    const home = makeFolder()
    const token = await world.ok<{ token: string }>('POST', '/tokens', { role: 'user', user: 'ann' })
    const env = { HOME: home, SSHOAL_TOKEN: token.token }
    const identity = ['--identity', ann.key.path]
    expectDone(await sshoal(['ssh-config', '--install', '--gate', 'via-s2', ...identity], env))
    // ssh finds its home in the password file and not in HOME; -F is the same file.
    const config = join(home, '.ssh/config')
    const ran = await run('ssh', ['-F', config, ...trusting, 'near-1', 'echo', 'here'])
    expect(ran.stdout, ran.stderr).toBe('here\n')
    expectDone(await sshoal(['ssh-config', '--uninstall'], env))
    expect(existsSync(join(home, '.ssh/config'))).toBe(false)
    expect(existsSync(join(home, '.ssh/sshoal'))).toBe(false)
  })

  test('G033 G034 G045: ssh-config --write gives files for a folder; without a switch it prints', async () => {
    const words = ['ssh-config', '--user', 'ann', '--gate', 'via-s1', '--identity', ann.key.path]
    expectDone(await sshoal([...words, '--write', 'handed-out']))
    const config = join(world.folder, 'handed-out/config')
    const ran = await run('ssh', ['-F', config, ...trusting, await nameOf('Far_1'), 'echo', 'here'])
    expect(ran.stdout, ran.stderr).toBe('here\n')
    expect((await sshoal(words)).stdout).toMatch(/^Host near-1\b/m)
  })

  test('sshoal ssh TARGET does it in one step, and ends as ssh ends', async () => {
    const words = ['ssh', '--user', 'ann', '--gate', 'via-s1', '--identity', ann.key.path, 'Near-1']
    const ran = await sshoal([...words, ...trusting, 'echo here; exit 7'])
    expect({ status: ran.status, stdout: ran.stdout }).toEqual({ status: 7, stdout: 'here\n' })
  })

  test('C23 G032: target pin pins the host keys of a target, and ssh refuses every other', async () => {
    const name = await nameOf('Far_1')
    const scan = ['target', 'pin', name, '--scan', '--yes', '--user', 'ann', '--gate', 'via-s1']
    const pinned = await sshoal([...scan, '--identity', ann.key.path])
    expectDone(pinned)
    expect(pinned.stderr).toContain(`${world.sshd.hostKey.fingerprint} ssh-ed25519`)
    const { config } = await ann.files()
    expect((await run('ssh', ['-F', config, '-G', name])).stdout).toMatch(
      /^stricthostkeychecking (yes|true)$/m,
    )
    expect((await ann.ssh([name, 'echo', 'here'])).stdout).toBe('here\n')
    // The machine behind the device is another one from now on.
    const another = await startSshd(world.folder, { authorized: [ann.key] })
    const changed = await sshoal(['target', 'pin', name, '--key', another.hostKey.publicKey])
    expectDone(changed)
    const ran = await ann.ssh([name, 'true'])
    expect(ran.status).toBe(255)
    expect(ran.stderr).toMatch(/REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed/)
    await world.ok('PATCH', `/targets/${name}`, { hostKeys: [] })
  })

  test('a token of role user shows its own targets alone; one of an admin says whose', async () => {
    await world.person('bob')
    const { url, adminToken } = of(world.all.masters, 1)
    const { token } = await world.ok<{ token: string }>('POST', '/tokens', { role: 'user', user: 'bob' })
    const ask = (bearer: string, query: string) =>
      callApi<{ config: string }>({ url, token: bearer }, 'GET', `/ssh-config?gate=via-s1${query}`)
    expect((await ask(token, '')).body.config).not.toContain('near-1')
    expect(await ask(token, '&user=ann')).toMatchObject({ status: 403, body: { code: 'FORBIDDEN' } })
    expect(await ask(adminToken, '')).toMatchObject({ status: 400 })
    expect((await ask(adminToken, '&user=ann')).body.config).toContain('near-1')
    expect(await callApi({ url, token }, 'GET', '/audit')).toMatchObject({ status: 403 })
  })

  test('G035 G036: a gate or a user that is not there is said', async () => {
    const none = await sshoal(['ssh-config', '--user', 'ann', '--gate', 'nowhere'])
    expect(none).toMatchObject({ status: 1, stderr: expect.stringContaining('UNKNOWN_GATE') })
    const nobody = await sshoal(['ssh-config', '--user', 'nobody'])
    expect(nobody).toMatchObject({ status: 1, stderr: expect.stringContaining('UNKNOWN_USER') })
  })
})
