// The real command in a process of its own, and its log: the one place that knows how a role says it is
// ready. Each role logs JSON lines when it is not on a terminal.

import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

import { start, withWords, type Started } from './process.ts'
import { run, type Ran } from './run.ts'
import { eventually } from './wait.ts'

export interface SshoalOptions {
  cwd?: string
  env?: Record<string, string | undefined>
  netns?: string
  /** For node itself: `['--max-old-space-size=64']`. */
  execArgv?: string[]
  /** Another build of the command than the one in the source tree. */
  cli?: string
}

export interface LogLine {
  msg: string
  [field: string]: unknown
}

export interface Sshoal extends Started {
  readonly logs: LogLine[]
  /** The first line with this message, or of several the one that is meant. */
  logged(msg: string, isMeant?: (line: LogLine) => boolean, within?: number): Promise<LogLine>
}

/** Made by build.ts. */
const BUILT = new URL('../../dist/sshoal.mjs', import.meta.url).pathname

function commandLine(args: string[], options: SshoalOptions): string[] {
  // The loader by its path: the command runs in a folder of the test's, and `tsx` itself would put a
  // process between our signals and sshoal.
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
  const cli = options.cli ?? BUILT
  return [...(options.execArgv ?? []), ...(cli.endsWith('.ts') ? ['--import', loader] : []), cli, ...args]
}

/** Nothing of the test runner or of the developer's own settings may reach the command. */
function environment(more: Record<string, string | undefined> = {}): Record<string, string | undefined> {
  const foreign = Object.keys(process.env).filter((name) => /^(SSHOAL_|VITEST|TEST$|NODE_ENV$)/.test(name))
  return { ...Object.fromEntries(foreign.map((name) => [name, undefined])), ...more }
}

/** Runs a command to its end: an operator's verb, or a role that must not start. */
export function runSshoal(args: string[], options: SshoalOptions = {}): Promise<Ran> {
  const { cwd, netns } = options
  return run(process.execPath, commandLine(args, options), { cwd, netns, env: environment(options.env) })
}

/** Starts a role and answers at once; `logged` waits for what it says. */
export function startSshoal(args: string[], options: SshoalOptions = {}): Sshoal {
  const { cwd, netns } = options
  const env = environment(options.env)
  const started = start(process.execPath, commandLine(args, options), { cwd, netns, env })
  const read = (): LogLine[] => [started.stderr, started.stdout].flatMap(parseLog)
  const logged: Sshoal['logged'] = (msg, isMeant = () => true, within = 40_000) => {
    const fits = (line: LogLine): boolean => line.msg === msg && isMeant(line)
    const message = `sshoal ${args.join(' ')} logs "${msg}"`
    const hopeless = (): boolean => started.exit !== undefined
    return eventually(() => read().find(fits) ?? false, { within, message, hopeless }).catch(
      (error: unknown) => {
        throw new Error(`${String(error)}\n${started.output}`, { cause: error })
      },
    )
  }
  return withWords(started, {
    get logs() {
      return read()
    },
    logged,
  })
}

function isLogLine(value: unknown): value is LogLine {
  return typeof value === 'object' && value !== null && 'msg' in value && typeof value.msg === 'string'
}

function parseLog(text: string): LogLine[] {
  return text.split('\n').flatMap((line) => {
    if (!line.startsWith('{')) return []
    try {
      const parsed: unknown = JSON.parse(line)
      return isLogLine(parsed) ? [parsed] : []
    } catch {
      // The end of what has come so far.
      return []
    }
  })
}

export interface MasterReady {
  url: string
}

export async function masterReady(sshoal: Sshoal): Promise<MasterReady> {
  const line = await sshoal.logged('master ready')
  return { url: String(line.url) }
}

export interface SlaveReady {
  id: string
  host: string
  port: number
}

export async function slaveReady(sshoal: Sshoal, id?: string): Promise<SlaveReady> {
  // The master has a line with the same message; only the slave's own says where it listens.
  const isOwn = (line: LogLine): boolean =>
    typeof line.sshPort === 'number' && (id === undefined || line.slave === id)
  const line = await sshoal.logged('slave ready', isOwn)
  return { id: String(line.slave), host: String(line.host), port: Number(line.sshPort) }
}

export async function statusReady(sshoal: Sshoal): Promise<string> {
  const line = await sshoal.logged('status ready')
  return String(line.url)
}
