// Another program on this terminal, as if it had been called itself: its streams, its signals, its exit code.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

import { errorText, SshoalError } from '@sshoal/shared'

/** The exit code as a shell has it. Throws NOT_STARTED. */
export async function attachProgram(
  command: string,
  args: string[],
  process: NodeJS.Process,
): Promise<number> {
  const child = spawn(command, args, { stdio: 'inherit' })
  // Ctrl-C is for the program, which has it from the terminal already; what would end us is passed on.
  const ignore = (): void => {}
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal)
  process.on('SIGINT', ignore).on('SIGTERM', passOn).on('SIGHUP', passOn)
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', (error) =>
        reject(
          new SshoalError('NOT_STARTED', `${command} cannot be started: ${errorText(error)}`, {
            cause: error,
          }),
        ),
      )
      child.once('close', (code, signal) =>
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
      )
    })
  } finally {
    process.off('SIGINT', ignore).off('SIGTERM', passOn).off('SIGHUP', passOn)
  }
}
