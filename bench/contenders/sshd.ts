// OpenSSH's server with Debian's defaults (PAM) and one unprivileged account, as for tunnels; MaxStartups lifted.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Contender } from '../contender.ts'
import { start } from '../process.ts'
import { listening } from '../wait.ts'

export const sshd: Contender = {
  name: 'sshd',
  user: 'nobody',
  oneKey: true,
  ciphers: ['aes128-gcm@openssh.com', 'chacha20-poly1305@openssh.com', 'aes128-ctr'],
  named: false,
  async start({ folder, keys, sshPort }) {
    // Its privilege separation wants this folder, which a service would have made.
    mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
    const file = join(folder, `sshd-${sshPort}.conf`)
    const settings = [
      `Port ${sshPort}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${keys.hostKey}`,
      `AuthorizedKeysFile ${keys.authorizedKeys}`,
      'StrictModes no',
      'UsePAM yes',
      'UseDNS no',
      'PidFile none',
      'MaxStartups 10000:30:20000',
      'LogLevel ERROR',
    ]
    writeFileSync(file, `${settings.join('\n')}\n`)
    const server = start('/usr/sbin/sshd', ['-D', '-e', '-f', file], { logFile: join(folder, 'sshd.log') })
    await listening(sshPort)
    return { pids: [server.pid], sshPorts: [sshPort], stop: () => server.stop() }
  },
}
