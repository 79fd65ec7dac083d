// The page of JavaScript in peers/ssh2-server.mjs.
import { join } from 'node:path'

import type { Contender } from '../contender.ts'
import { start } from '../process.ts'
import { programs } from '../programs.ts'
import { listening } from '../wait.ts'

export const plainSsh2: Contender = {
  name: 'ssh2',
  user: 'device',
  oneKey: false,
  ciphers: ['aes128-gcm@openssh.com', 'chacha20-poly1305@openssh.com', 'aes128-ctr'],
  named: false,
  async start({ folder, keys, sshPort }) {
    const server = start(
      'node',
      [programs.ssh2Server, '--listen', `127.0.0.1:${sshPort}`, '--host-key', keys.hostKey],
      { logFile: join(folder, 'ssh2.log') },
    )
    await listening(sshPort)
    return { pids: [server.pid], sshPorts: [sshPort], stop: () => server.stop() }
  },
}
