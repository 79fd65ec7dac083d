// dropbear, in a mount namespace where root's home is ours: it reads keys from nowhere else. Debian's has no GCM.
import { chmodSync, cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'

import type { Contender } from '../contender.ts'
import { run, start } from '../process.ts'
import { listening } from '../wait.ts'

export const dropbear: Contender = {
  name: 'dropbear',
  user: 'root',
  oneKey: true,
  atOnce: 4,
  ciphers: ['chacha20-poly1305@openssh.com', 'aes128-ctr'],
  named: false,
  async start({ folder, keys, sshPort }) {
    const home = join(folder, 'dropbear-home')
    mkdirSync(join(home, '.ssh'), { recursive: true, mode: 0o700 })
    cpSync(keys.authorizedKeys, join(home, '.ssh/authorized_keys'))
    chmodSync(home, 0o700)
    const hostKey = join(home, 'host-key')
    await run('dropbearkey', ['-t', 'ed25519', '-f', hostKey]).catch(() => undefined)
    const command = `mount --bind ${home} /root && exec dropbear -F -E -r /root/host-key -p 127.0.0.1:${sshPort} -W 2000000`
    const server = start('unshare', ['-m', 'sh', '-c', command], { logFile: join(folder, 'dropbear.log') })
    await listening(sshPort)
    return { pids: [server.pid], sshPorts: [sshPort], stop: () => server.stop() }
  },
}
