// A real OpenSSH server with its own configuration, host key and authorized keys; it never reads /etc/ssh.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { makeKey, type Key } from './key.ts'
import { takePorts } from './port.ts'
import { start, type Started } from './process.ts'

export interface SshdOptions {
  /** Who may log in, as the user that runs the test. */
  authorized?: Key[]
  /** An address that the namespace has; 127.0.0.1 unless told. */
  host?: string
  /** A free one unless told. */
  port?: number
  /** More lines for sshd_config. */
  config?: string[]
  netns?: string
}

export interface Sshd {
  host: string
  port: number
  hostKey: Key
  process: Started
  /** Adds a key to authorized_keys; counts from the next login on. */
  authorize(key: Pick<Key, 'publicKey'>): void
}

export async function startSshd(folder: string, options: SshdOptions = {}): Promise<Sshd> {
  const { host = '127.0.0.1', config = [], authorized = [] } = options
  const port = options.port ?? (await takePorts(1)).first
  const hostKey = await makeKey(folder)
  const keys = join(folder, `authorized-${port}`)
  const file = join(folder, `sshd-${port}.conf`)
  writeFileSync(keys, '', { mode: 0o600 })
  const lines = [
    ...config,
    `ListenAddress ${host.includes(':') ? `[${host}]` : host}:${port}`,
    `HostKey ${hostKey.path}`,
    `AuthorizedKeysFile ${keys}`,
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin prohibit-password',
    // The folder lies in /tmp, which others may write to.
    'StrictModes no',
    'UsePAM no',
    'PidFile none',
    'LogLevel VERBOSE',
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  // sshd insists on this folder for its unprivileged half, and makes it nowhere but in its init script.
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  // It must be called by its absolute path, because it starts itself again for every connection.
  const process = start('/usr/sbin/sshd', ['-D', '-e', '-f', file], { netns: options.netns })
  await process.waitForOutput(/Server listening on /)
  const sshd: Sshd = {
    host,
    port,
    hostKey,
    process,
    authorize(key) {
      writeFileSync(keys, `${readFileSync(keys, 'utf8')}${key.publicKey}\n`)
    },
  }
  for (const key of authorized) sshd.authorize(key)
  return sshd
}
