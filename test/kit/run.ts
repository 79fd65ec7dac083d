// A command that is run to its end, with its answer.

import { sendSignal } from './family.ts'
import { start, type Exit, type ProcessOptions } from './process.ts'

export interface RunOptions extends ProcessOptions {
  /** Milliseconds until it is killed and the call fails; 45,000 unless told. */
  within?: number
}

export interface Ran extends Exit {
  stdout: string
  stdoutBytes: Buffer
  stderr: string
}

/** Runs a command to its end. A status other than 0 is an answer, not an error. */
export async function run(command: string, args: string[] = [], options: RunOptions = {}): Promise<Ran> {
  const { within = 45_000, ...rest } = options
  const started = start(command, args, rest)
  let late = false
  const timer = setTimeout(() => {
    late = true
    sendSignal(-started.pid, 'SIGKILL')
  }, within)
  const exit = await started.exited
  clearTimeout(timer)
  if (late) {
    throw new Error(`still running after ${within} ms: ${[command, ...args].join(' ')}\n${started.output}`)
  }
  const { stdout, stdoutBytes, stderr } = started
  return { ...exit, stdout, stdoutBytes, stderr }
}
