// A process of load/slaves.ts, and how to talk to it.
import { fork } from 'node:child_process'
import { join } from 'node:path'

import { benchFolder } from './folders.ts'
import type { SlavesAnswer, SlavesCommand } from './load/slaves.ts'

export interface SimulatedSlaves {
  pid: number
  do(command: SlavesCommand): Promise<SlavesAnswer>
  stop(): void
}

export async function startSimulatedSlaves(): Promise<SimulatedSlaves> {
  const child = fork(join(benchFolder, 'load/slaves.ts'), [], {
    execArgv: ['--import', 'tsx', '--max-old-space-size=6000'],
  })
  const hear = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const ended = (): void => reject(new Error('the simulated slaves ended'))
      child.once('exit', ended)
      child.once('message', (message) => {
        child.off('exit', ended)
        resolve(message)
      })
    })
  await hear()
  return {
    pid: child.pid ?? 0,
    async do(command) {
      const answer = hear()
      child.send(command)
      const said = (await answer) as SlavesAnswer | { error: string }
      if ('error' in said) throw new Error(said.error)
      return said
    },
    stop: () => void child.kill('SIGKILL'),
  }
}
