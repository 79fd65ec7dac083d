// From signals to the end of a role: the first SIGTERM or SIGINT stops it in good order, a second one is now, SIGHUP
// reloads. Handed the process, so that a test can stand in for it.
import { constants } from 'node:os'

import type { Role } from './verb.ts'

export interface SignalSource {
  on(event: 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'disconnect', listener: () => void): unknown
}

/**
 * npm and a supervisor pass on the Ctrl-C that the terminal already gave to all: what comes this soon after the first
 * signal, in ms, is the same wish told twice.
 */
const SAME_WISH_MS = 250

/**
 * Listens from the call on, also while the role still starts: a signal then stops it as soon as it is up. Resolves with the
 * exit code once the role is closed, rejects when it does not start; `exitNow` is called for the second signal.
 */
export async function holdRole(
  starting: Role | Promise<Role>,
  source: SignalSource,
  exitNow: (code: number) => void,
): Promise<number> {
  let stoppedAt: number | undefined
  let wish = (_signal: string): void => {}
  const wished = new Promise<string>((resolve) => {
    wish = resolve
  })
  function stop(signal: 'SIGTERM' | 'SIGINT'): void {
    if (stoppedAt === undefined) {
      stoppedAt = performance.now()
      wish(signal)
    } else if (performance.now() - stoppedAt > SAME_WISH_MS) exitNow(128 + constants.signals[signal])
  }
  source.on('SIGTERM', () => stop('SIGTERM'))
  source.on('SIGINT', () => stop('SIGINT'))
  // A worker without its supervisor would be looked after by nobody.
  source.on('disconnect', () => stop('SIGTERM'))
  source.on('SIGHUP', () => void reload(starting))
  const role = await starting
  const signal = await wished
  role.log.info({ signal }, 'stopping')
  try {
    await role.close()
    return 0
  } catch (error) {
    role.log.error({ err: error }, 'stopping failed')
    return 1
  }
}

async function reload(starting: Role | Promise<Role>): Promise<void> {
  try {
    const role = await starting
    await role.reload().catch((error: unknown) => {
      role.log.error({ err: error }, 'reloading failed, going on as before')
    })
  } catch {
    // it did not start; whoever waits for that says so
  }
}
