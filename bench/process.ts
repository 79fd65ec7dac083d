// Starts programs and reads from /proc what they and their children have used. Knows nothing of SSH.
import { spawn, type ChildProcess } from 'node:child_process'
import { openSync, readdirSync, readFileSync } from 'node:fs'
import { createInterface, type Interface } from 'node:readline'

const TICKS_PER_SECOND = 100

export interface Program {
  readonly pid: number
  /** Sends a line to its standard input. */
  tell(line: string): void
  /** The next JSON line of its standard output. Rejects when it ends or after `deadlineMs`. */
  hear(deadlineMs?: number): Promise<Record<string, unknown>>
  /** Resolves when it is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>
}

export interface StartOptions {
  environment?: Record<string, string>
  /** Where its output goes; default: standard output is read as JSON lines. */
  logFile?: string
  workingFolder?: string
}

const running = new Set<ChildProcess>()

/** Ends everything that is left, when the bench itself ends. */
export function stopAll(): void {
  for (const child of running) child.kill('SIGKILL')
}

export function start(command: string, args: string[], options: StartOptions = {}): Program {
  const log = options.logFile === undefined ? 'inherit' : openSync(options.logFile, 'a')
  const child = spawn(command, args, {
    stdio: ['pipe', options.logFile === undefined ? 'pipe' : log, log],
    env: { ...process.env, ...options.environment },
    ...(options.workingFolder === undefined ? {} : { cwd: options.workingFolder }),
  })
  running.add(child)
  const ended = new Promise<void>((resolve) => {
    child.once('error', () => resolve())
    child.once('exit', () => resolve())
  }).then(() => void running.delete(child))
  child.stdin?.on('error', () => {})
  const lines = child.stdout === null ? undefined : new Lines(createInterface({ input: child.stdout }), ended)
  return {
    pid: child.pid ?? 0,
    tell: (line) => void child.stdin?.write(`${line}\n`),
    hear: (deadlineMs = 120_000) =>
      lines?.next(deadlineMs, command) ?? Promise.reject(new Error('its output is not read')),
    stop: (signal = 'SIGTERM') => {
      child.kill(signal)
      const late = setTimeout(() => child.kill('SIGKILL'), 5_000)
      return ended.then(() => clearTimeout(late))
    },
  }
}

/** Runs a program to its end; what it printed. Rejects when it failed. */
export function run(command: string, args: string[], options: StartOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.environment },
      ...(options.workingFolder === undefined ? {} : { cwd: options.workingFolder }),
    })
    running.add(child)
    let text = ''
    let problem = ''
    child.stdout.on('data', (data: Buffer) => (text += data.toString()))
    child.stderr.on('data', (data: Buffer) => (problem += data.toString()))
    child.once('error', reject)
    child.once('close', (code) => {
      running.delete(child)
      if (code === 0) resolve(text)
      else reject(new Error(`${command} ${args.join(' ')} ended with ${code}: ${problem.slice(-500)}`))
    })
  })
}

class Lines {
  #waiting: ((line: string | undefined) => void)[] = []
  #lines: string[] = []
  #ended = false

  constructor(input: Interface, ended: Promise<void>) {
    input.on('line', (line) => {
      const next = this.#waiting.shift()
      if (next) next(line)
      else this.#lines.push(line)
    })
    void ended.then(() => {
      this.#ended = true
      for (const give of this.#waiting.splice(0)) give(undefined)
    })
  }

  next(deadlineMs: number, name: string): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const take = (line: string | undefined): void => {
        clearTimeout(timer)
        if (line === undefined) reject(new Error(`${name} ended`))
        else resolve(JSON.parse(line) as Record<string, unknown>)
      }
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((waiting) => waiting !== take)
        reject(new Error(`${name} said nothing for ${deadlineMs} ms`))
      }, deadlineMs)
      const line = this.#lines.shift()
      if (line !== undefined) take(line)
      else if (this.#ended) take(undefined)
      else this.#waiting.push(take)
    })
  }
}

interface Stat {
  pid: number
  parent: number
  /** Its own and that of children it has waited for, seconds. */
  cpu: number
}

function stats(): Stat[] {
  const found: Stat[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const text = read(`/proc/${name}/stat`)
    const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
    if (!fields) continue
    const ticks = [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0)
    found.push({ pid: Number(name), parent: Number(fields[1]), cpu: ticks / TICKS_PER_SECOND })
  }
  return found
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return undefined // it is gone
  }
}

function tree(roots: readonly number[]): Stat[] {
  const all = stats()
  const found = all.filter(({ pid }) => roots.includes(pid))
  const pids = new Set(roots)
  for (let grew = true; grew;) {
    grew = false
    for (const stat of all) {
      if (pids.has(stat.pid) || !pids.has(stat.parent)) continue
      pids.add(stat.pid)
      found.push(stat)
      grew = true
    }
  }
  return found
}

/** CPU seconds that these processes and their children have used so far. */
export function cpuSeconds(...roots: number[]): number {
  return tree(roots).reduce((sum, { cpu }) => sum + cpu, 0)
}

/** Resident memory of these processes and their children, shared pages split among those who share them (PSS), bytes. */
export function memoryBytes(...roots: number[]): number {
  return proportional('Pss', roots)
}

/** The part of it that no file stands behind: pages of a store's file go when others need the room. */
export function anonymousBytes(...roots: number[]): number {
  return proportional('Pss_Anon', roots)
}

function proportional(name: 'Pss' | 'Pss_Anon', roots: number[]): number {
  const pattern = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm')
  return tree(roots).reduce((sum, { pid }) => {
    const line = pattern.exec(read(`/proc/${pid}/smaps_rollup`) ?? '')
    return sum + Number(line?.[1] ?? 0) * 1_024
  }, 0)
}

/** What was used while `work` went on. */
export async function cpuDuring<T>(
  groups: Record<string, number[]>,
  work: () => Promise<T>,
): Promise<{ result: T; seconds: number; cpu: Record<string, number> }> {
  const names = Object.keys(groups)
  const before = names.map((name) => cpuSeconds(...(groups[name] ?? [])))
  const startedAt = performance.now()
  const result = await work()
  const seconds = (performance.now() - startedAt) / 1_000
  const cpu = Object.fromEntries(
    names.map((name, i) => [name, cpuSeconds(...(groups[name] ?? [])) - (before[i] ?? 0)]),
  )
  return { result, seconds, cpu }
}
