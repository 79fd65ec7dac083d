// The `sshoal` command. Alone here: arguments, environment, signals and exit codes of this process.
import type { MasterSettings } from '@sshoal/master'
import { masterOptions } from '@sshoal/master/options'
import type { createLog } from '@sshoal/shared'
import type { SlaveSettings } from '@sshoal/slave'
import { slaveOptions } from '@sshoal/slave/options'

import { attachProgram } from './attached-program.ts'
import { runCommandLine } from './command-line.ts'
import { commandTree } from './command-tree.ts'
import { spellingOf } from './program.ts'
import type { Roles } from './roles.ts'
import { holdRole } from './signals.ts'
import { processTerminal } from './terminal.ts'
import { version } from './version.ts'

const { argv, execArgv, stderr, stdout } = process
// oxlint-disable-next-line node/no-process-env -- the one place of the command that reads the environment
const { env } = process
const script = argv[1] ?? ''
const cwd = process.cwd()

function exit(code: number): void {
  // What was written to a pipe is written to its end.
  stdout.write('', () => process.exit(code))
}

/** Loaded with the roles: a verb writes no log, and must not wait for it. */
let makeLog: typeof createLog | undefined

/** A bug, or an error that nobody waited for: going on would hide it. */
function fail(error: unknown): void {
  if (makeLog) makeLog({ level: 'error', pretty: stderr.isTTY }).error({ err: error }, 'unexpected error')
  else stderr.write(`unexpected error: ${error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(1)
}

process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
// `sshoal tunnels | head`: the reader has seen enough.
stdout.on('error', (error: NodeJS.ErrnoException) => (error.code === 'EPIPE' ? process.exit(0) : fail(error)))

// The roles are loaded when one is started: a verb over REST must not wait for them.
const roles: Roles = {
  masterOptions,
  slaveOptions,
  startMaster: async (values, deps) =>
    (await import('@sshoal/master')).startMaster(values as MasterSettings, deps),
  startSlave: async (values, deps) =>
    (await import('@sshoal/slave')).startSlave(values as SlaveSettings, deps),
}

exit(
  await runCommandLine(commandTree(roles), argv.slice(2), {
    terminal: processTerminal(process),
    env,
    cwd,
    program: { version, script, execArgv, spelling: spellingOf(script, cwd, env.PATH ?? '') },
    createLog: async (level) => {
      makeLog = (await import('@sshoal/shared/log')).createLog
      return makeLog({ level, pretty: stderr.isTTY })
    },
    announce: (message) => void process.send?.(message),
    attach: async (command, args) => attachProgram(command, args, process),
    hold: async (role) => holdRole(role, process, (code) => process.exit(code)),
  }),
)
