// A cluster with a gate on each slave, a real sshd that devices expose, and people who come with a stock ssh and the
// configuration that the master wrote for them.

import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'

import { followEvents, type Events } from './api.ts'
import { openDevice, type Device } from './device.ts'
import { currentOwner, asOwner } from './ending.ts'
import { makeFolder } from './folder.ts'
import { makeKey, type Key } from './key.ts'
import { of, startMasters, type Masters, type MastersOptions } from './masters.ts'
import { takePorts } from './port.ts'
import { start, type Started } from './process.ts'
import { run, type Ran } from './run.ts'
import { startSshd, type Sshd } from './sshd.ts'
import { eventually } from './wait.ts'

export interface SshFiles {
  config: string
  knownHosts: string
  /** What the config calls the gate. */
  gate: string
}

export interface Person {
  login: string
  id: string
  key: Key
  /** The files for the gate on the n-th slave (from 0; null: the default gate), as they would be written now. */
  files(via?: number | null): Promise<SshFiles>
  /** Runs `ssh -F` with files of now, through the gate on the n-th slave. */
  ssh(words: string[], via?: number): Promise<Ran>
  /** The same and stays. */
  startSsh(words: string[], via?: number): Promise<Started>
  /** `ssh -N -L` to a port of a target: connections to the answered address are visits of the person. */
  open(target: string, port?: number, via?: number): Promise<Opened>
}

export interface Opened {
  address: { host: string; port: number }
  ssh: Started
}

export interface GateWorld {
  all: Masters
  folder: string
  sshd: Sshd
  /** The account of the sshd. */
  account: string
  /** The n-th master's REST; throws where it refuses. */
  ok<T = unknown>(method: string, path: string, body?: unknown, n?: number): Promise<T>
  /** With a key that the sshd takes too. */
  person(login: string, more?: { key?: Key; pools?: string[] }): Promise<Person>
  /** The same person with another key. */
  as(person: Person, key: Key): Person
  events(): Promise<Events>
  /** Registers it, and opens its tunnel on the n-th slave; answers when every living master lists it there. */
  device(id: string, on: number, more?: { forwards?: string[]; key?: Key }): Promise<HeldDevice>
  /** Answers with the grant's id. */
  grant(user: string, more: Record<string, unknown>): Promise<string>
}

export interface HeldDevice {
  id: string
  key: Key
  /** The one that runs now. */
  client: Device
  /**
   * Its tunnel is lost and comes back there, or one there takes over while it stands, which a device may do three times in
   * ten minutes. Answers when every living master lists it there.
   */
  moveTo(n: number, how?: 'lost' | 'taken over'): Promise<void>
}

export const gateOf = (slave: number): string => `via-s${slave + 1}`

export async function startGateWorld(options: MastersOptions = {}): Promise<GateWorld> {
  const owner = currentOwner()
  const folder = makeFolder()
  const { slaveFlags = [] } = options
  const flags = (n: number): string[] => [
    '--relay-listen',
    '127.0.0.1:0',
    ...(typeof slaveFlags === 'function' ? slaveFlags(n) : slaveFlags),
  ]
  const [all, sshd, ports] = await Promise.all([
    startMasters({ ...options, slaveFlags: flags }),
    // `internal-sftp`: the program of its own is another package.
    startSshd(folder, { config: ['Subsystem sftp internal-sftp', 'AllowAgentForwarding yes'] }),
    takePorts(50),
  ])
  const account = userInfo().username
  let port = ports.first
  const ok: GateWorld['ok'] = async <T>(method: string, path: string, body?: unknown, n = 0): Promise<T> => {
    const answer = await all.api<T>(n, method, path, body)
    if (answer.status < 300) return answer.body
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
  }
  for (const [n, { host, port }] of all.slaves.entries())
    await ok('POST', '/gates', { name: gateOf(n), host, port })

  const person: GateWorld['person'] = async (login, more = {}) => {
    const key = more.key ?? (await makeKey(folder))
    sshd.authorize(key)
    const body = { email: `${login}@example.com`, login, keys: [key.publicKey], pools: more.pools }
    const { id } = await ok<{ id: string }>('POST', '/users', body)
    return withKey(login, id, key)
  }

  let written = 0
  const withKey = (login: string, id: string, key: Key): Person => {
    const files: Person['files'] = async (via = 0) => {
      const query = `/ssh-config?user=${login}${via === null ? '' : `&gate=${gateOf(via)}`}`
      const answer = await ok<{ config: string; knownHosts: string; gate: { name: string } }>('GET', query)
      const place = join(folder, `${login}-${++written}`)
      mkdirSync(place)
      const knownHosts = join(place, 'known_hosts')
      const config = join(place, 'config')
      writeFileSync(knownHosts, answer.knownHosts)
      writeFileSync(
        config,
        answer.config.replaceAll(/^(\s*UserKnownHostsFile ).*$/gm, (_, word: string) => word + knownHosts),
      )
      // What a person has in a configuration of their own; the master knows no paths.
      appendFileSync(
        config,
        `\nMatch all\n  IdentityFile ${key.path}\n  IdentitiesOnly yes\n  IdentityAgent none\n` +
          '  BatchMode yes\n  GlobalKnownHostsFile /dev/null\n  ConnectTimeout 20\n' +
          `  StrictHostKeyChecking accept-new\n  UserKnownHostsFile ${join(folder, `${login}-met`)}\n`,
      )
      return { config, knownHosts, gate: answer.gate.name }
    }
    const env = { SSH_AUTH_SOCK: undefined, LC_ALL: 'C' }
    const startSsh: Person['startSsh'] = async (words, via) => {
      const { config } = await files(via)
      return start('ssh', ['-F', config, ...words], { env })
    }
    return {
      login,
      id,
      key,
      files,
      async ssh(words, via) {
        const { config } = await files(via)
        return run('ssh', ['-F', config, ...words], { env })
      },
      startSsh,
      async open(target, to = 22, via = 0) {
        const address = { host: '127.0.0.1', port: port++ }
        const { config, gate } = await files(via)
        const forward = `127.0.0.1:${address.port}:${target}:${to}`
        const words = ['-F', config, '-v', '-N', '-o', 'ExitOnForwardFailure=yes', '-L', forward, gate]
        const ssh = start('ssh', words, { env })
        // By then it listens; what it says of that before, it says before it tries.
        await ssh.waitForOutput(/Entering interactive session/)
        return { address, ssh }
      },
    }
  }

  const device: GateWorld['device'] = async (id, on, more = {}) => {
    const key = more.key ?? (await makeKey(folder))
    const forwards = more.forwards ?? [`0:${sshd.host}:${sshd.port}`]
    await all.addDevice(id, key)
    const open = async (n: number): Promise<Device> => {
      const client = asOwner(owner, () => openDevice({ slave: of(all.slaves, n), key, forwards }))
      await eventually(
        async () => {
          if (client.exit) throw new Error(client.output)
          for (const [at, { process }] of all.masters.entries()) {
            if (process.exit) continue
            const listed = (await all.tunnels(at)).find(({ device }) => device === id)
            if (listed?.slave !== of(all.slaves, n).id || listed.forwards.length < forwards.length)
              return false
          }
          return true
        },
        { message: `${id} is on the slave ${n + 1}` },
      )
      return client
    }
    let client = await open(on)
    return {
      id,
      key,
      get client() {
        return client
      },
      async moveTo(n, how = 'lost') {
        if (how === 'lost') {
          client.signal('SIGKILL')
          await client.exited
        }
        client = await open(n)
      },
    }
  }

  return {
    all,
    folder,
    sshd,
    account,
    ok,
    person,
    as: ({ login, id }, key) => withKey(login, id, key),
    events() {
      const { url, adminToken: token } = of(all.masters, 0)
      return followEvents({ url, token })
    },
    device,
    async grant(user, more) {
      return (await ok<{ id: string }>('POST', '/grants', { user, account, ...more })).id
    },
  }
}
