// A real OpenSSH client that holds one tunnel to a target on this machine.
import { join } from 'node:path'

import type { Contender, Keys, Running } from './contender.ts'
import { start, type Program } from './process.ts'
import { programs } from './programs.ts'
import { listening } from './wait.ts'

export interface Target {
  program: Program
  port: number
}

/** What devices forward to. */
export async function startTarget(): Promise<Target> {
  const program = start(programs.visits, ['target'])
  const { port } = await program.hear()
  return { program, port: Number(port) }
}

let nextForward = 13_000

export interface DeviceSsh {
  pid: number
  /** Where visitors go. */
  port: number
  stop(): Promise<void>
}

export async function startDeviceSsh(options: {
  contender: Contender
  running: Running
  keys: Keys
  folder: string
  cipher: string
  target: Target
}): Promise<DeviceSsh> {
  const { contender, running, keys, folder, cipher, target } = options
  const port = nextForward++
  const ssh = start(
    'ssh',
    [
      ['-F', 'none', '-N', '-T', '-i', keys.deviceKey, '-c', cipher, '-p', String(running.sshPorts[0])],
      ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'IdentitiesOnly=yes'],
      ['-o', 'ExitOnForwardFailure=yes', '-o', 'LogLevel=ERROR', '-o', 'IdentityAgent=none'],
      ['-R', `${port}:127.0.0.1:${target.port}`, `${contender.user}@127.0.0.1`],
    ].flat(),
    { logFile: join(folder, 'ssh.log') },
  )
  await listening(port)
  return { pid: ssh.pid, port, stop: () => ssh.stop() }
}
