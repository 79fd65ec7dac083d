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

/** Resolves with the exit code once the role is closed; `exitNow` is called for the second signal. */
export async function holdRole(
  role: Role,
  source: SignalSource,
  exitNow: (code: number) => void,
): Promise<number> {
  return await new Promise<number>((resolve) => {
    let stoppedAt: number | undefined
    function stop(signal: 'SIGTERM' | 'SIGINT'): void {
      if (stoppedAt !== undefined) {
        if (performance.now() - stoppedAt > SAME_WISH_MS) exitNow(128 + constants.signals[signal])
        return
      }
      stoppedAt = performance.now()
      role.log.info({ signal }, 'stopping')
      role.close().then(
        () => resolve(0),
        (error: unknown) => {
          role.log.error({ err: error }, 'stopping failed')
          resolve(1)
        },
      )
    }
    source.on('SIGTERM', () => stop('SIGTERM'))
    source.on('SIGINT', () => stop('SIGINT'))
    // A worker without its supervisor would be looked after by nobody.
    source.on('disconnect', () => stop('SIGTERM'))
    source.on('SIGHUP', () => {
      role.reload().catch((error: unknown) => {
        role.log.error({ err: error }, 'reloading failed, going on as before')
      })
    })
  })
}
