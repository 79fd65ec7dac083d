// Logging: pino, JSON for programs and pino-pretty on a terminal. A constant message, data as fields, secrets redacted.
import { pino, type Logger } from 'pino'
import pretty from 'pino-pretty'

export type Log = Logger

export interface LogOptions {
  level: string
  /** Pretty for a terminal; JSON lines else. */
  pretty: boolean
}

/** Names that must never be printed, wherever they stand in a field object. */
const SECRETS = [
  'token',
  'authorization',
  'privateKey',
  'secret',
  'password',
  '*.token',
  '*.authorization',
  '*.privateKey',
  '*.secret',
  '*.password',
]

/** Writes to standard error, so that standard output stays what the command prints for its user. */
export function createLog(options: LogOptions): Log {
  const settings = {
    level: options.level,
    base: null,
    redact: { paths: SECRETS, censor: '[secret]' },
    messageKey: 'msg',
  }
  if (!options.pretty) return pino(settings, pino.destination({ dest: 2, sync: true }))
  return pino(
    settings,
    pretty({ destination: 2, sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' }),
  )
}

/** A log that writes nothing; the default of everything that takes one. */
export function silentLog(): Log {
  return pino({ level: 'silent' })
}
