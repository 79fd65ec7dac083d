// Ours: a master with a hook and a slave, each the production build in a process of its own.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Contender, ContenderOptions, Running } from '../contender.ts'
import { benchFolder } from '../folders.ts'
import { start } from '../process.ts'
import { programs } from '../programs.ts'
import { listening, until } from '../wait.ts'

const CIPHERS = ['aes128-gcm@openssh.com', 'chacha20-poly1305@openssh.com', 'aes128-ctr']
/** One that can hold 10,000 bound forwards, below the ports that the kernel gives to visitors. */
const FORWARD_PORTS = '12000-31999'

export function sshoal(name = 'sshoal', program = programs.sshoal): Contender {
  return {
    name,
    user: 'device',
    oneKey: false,
    ciphers: CIPHERS,
    named: true,
    start: (options) => startSshoal(program, options),
  }
}

async function startSshoal(program: string, options: ContenderOptions): Promise<Running> {
  const { folder, keys, sshPort, threads = 1, slaveFlags = [] } = options
  // Below the forwards, and none that `fetch` refuses to call (5060 is one).
  const masterPort = sshPort + 3_000
  const statusPort = sshPort + 4_000
  const data = join(folder, `master-${sshPort}`)
  const log = join(folder, 'sshoal.log')
  const master = start(
    'node',
    [
      program,
      'master',
      ['--listen', `127.0.0.1:${masterPort}`, '--data', data],
      ['--hook', join(benchFolder, 'hook.ts'), '--log-level', 'warn'],
    ].flat(),
    { logFile: log },
  )
  await listening(masterPort)
  const token = (name: string): string => readFileSync(join(data, name), 'utf8').trim()
  const slave = start(
    'node',
    [
      program,
      'slave',
      ['--master', `http://127.0.0.1:${masterPort}`, '--token', token('slave-token')],
      ['--ssh-listen', `127.0.0.1:${sshPort}`, '--status-listen', `127.0.0.1:${statusPort}`],
      ['--forward-ports', FORWARD_PORTS, '--host-key', keys.hostKey, '--id', `slave-${sshPort}`],
      threads > 1 ? ['--workers', String(threads)] : [],
      slaveFlags,
    ].flat(),
    { logFile: log },
  )
  const sshPorts = Array.from({ length: threads }, (_, i) => sshPort + i)
  for (const port of sshPorts) await listening(port)
  const totals = async (): Promise<{ slaves: number; tunnels: number }> => {
    const answer = await fetch(`http://127.0.0.1:${masterPort}/cluster`, {
      headers: { authorization: `Bearer ${token('admin-token')}` },
    })
    return ((await answer.json()) as { totals: { slaves: number; tunnels: number } }).totals
  }
  await until('slaves at the master', async () => (await totals()).slaves === threads)
  return {
    pids: [slave.pid],
    masterPids: [master.pid],
    sshPorts,
    knows: (tunnels) =>
      until(`${tunnels} tunnels at the master`, async () => (await totals()).tunnels === tunnels, 60_000, 50),
    loopDelay: async () => {
      const delays = sshPorts.map(async (_, i) => {
        const answer = await fetch(`http://127.0.0.1:${statusPort + i}/metrics`)
        const found = /^nodejs_eventloop_lag_p99_seconds(?:\{[^}]*\})? (\S+)/m.exec(await answer.text())
        return Number(found?.[1] ?? NaN) * 1_000
      })
      return Math.max(...(await Promise.all(delays)))
    },
    stop: async () => {
      await slave.stop('SIGKILL')
      await master.stop('SIGKILL')
    },
  }
}
