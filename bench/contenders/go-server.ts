// The page of Go in peers/goserver.
import { join } from 'node:path'

import type { Contender } from '../contender.ts'
import { start } from '../process.ts'
import { programs } from '../programs.ts'
import { listening } from '../wait.ts'

export const goServer: Contender = {
  name: 'go',
  user: 'device',
  oneKey: false,
  ciphers: ['aes128-gcm@openssh.com', 'chacha20-poly1305@openssh.com', 'aes128-ctr'],
  named: false,
  async start({ folder, keys, sshPort, threads }) {
    const server = start(programs.goServer, ['-listen', `127.0.0.1:${sshPort}`, '-host-key', keys.hostKey], {
      logFile: join(folder, 'go.log'),
      ...(threads === undefined ? {} : { environment: { GOMAXPROCS: String(threads) } }),
    })
    await listening(sshPort)
    return { pids: [server.pid], sshPorts: [sshPort], stop: () => server.stop() }
  },
}
