// The master as a library: a program of one's own decides who is let in. `sshoal master` is the same with flags.
import { createLog, loadConfig, type Log } from '@sshoal/shared'

import type { ValidateDevice } from './hook/hook.ts'
import { masterOptions, type MasterSettings } from './options.ts'
import { startMaster, type Master } from './start-master.ts'

/** Every setting of `sshoal master`, in camel case; durations in ms, addresses as `{ host, port }`. What is missing has its default. */
export interface CreateMasterOptions extends Partial<MasterSettings> {
  /** Who is let in; goes before `hook`. Without either it is the registry. */
  validate_device?: ValidateDevice
  /** Default: JSON lines on standard error. */
  log?: Log
}

/** Reads neither flags nor environment. Rejects as `startMaster` does. */
export function createMaster(options: CreateMasterOptions = {}): Promise<Master> {
  const { validate_device, log, ...given } = options
  const settings = { ...loadConfig(masterOptions, { flags: {}, env: {} }), ...given }
  return startMaster(settings, {
    log: log ?? createLog({ level: settings.logLevel, pretty: false }),
    ...(validate_device === undefined ? {} : { validate_device }),
  })
}
