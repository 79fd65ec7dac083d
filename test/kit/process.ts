// Real processes with real signals. Each is the leader of its own group, which is killed by id at the end
// of the test, and by the caretaker if the test process itself dies.

import { spawn } from 'node:child_process'

import { entrust } from './caretaker.ts'
import { atEnd } from './ending.ts'
import { descendants, killFamily, sendSignal, type Relative } from './family.ts'

export interface ProcessOptions {
  cwd?: string
  /** Added to the environment of the test; `undefined` takes a variable out. */
  env?: Record<string, string | undefined>
  /** Name of the network namespace to run in. */
  netns?: string
  /** Fed to its standard input, which is then closed; without it there is no input. */
  input?: string | Buffer
}

export interface Exit {
  status: number | null
  signal: NodeJS.Signals | null
}

export interface Started {
  pid: number
  /** Both streams in the order of arrival. */
  readonly output: string
  readonly stdout: string
  readonly stdoutBytes: Buffer
  readonly stderr: string
  /** `undefined` while it runs. */
  readonly exit: Exit | undefined
  exited: Promise<Exit>
  onOutput(look: () => void): void
  /** Waits until the output matches; fails with the output when time is up or the process ended. */
  waitForOutput(pattern: RegExp, within?: number): Promise<RegExpExecArray>
  signal(name: NodeJS.Signals): void
  /** SIGTERM, then SIGKILL to all that is left of its group after `patience` ms (5,000). */
  stop(patience?: number): Promise<Exit>
}

export function start(command: string, args: string[] = [], options: ProcessOptions = {}): Started {
  const [file, argv] =
    options.netns === undefined ? [command, args] : ['ip', ['netns', 'exec', options.netns, command, ...args]]
  const child = spawn(file, argv, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    detached: true,
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  const pid = child.pid ?? 0
  const release = pid > 0 ? entrust(`kill -KILL -- -${pid}`) : () => {}
  const chunks = { all: [] as Buffer[], stdout: [] as Buffer[], stderr: [] as Buffer[] }
  const lookers = new Set<() => void>()
  const look = (): void => {
    for (const looker of lookers) looker()
  }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream]?.on('data', (chunk: Buffer) => {
      chunks.all.push(chunk)
      chunks[stream].push(chunk)
      look()
    })
  }
  child.stdin?.on('error', () => {})
  child.stdin?.end(options.input)

  let exit: Exit | undefined
  let family: Relative[] = []
  const exited = new Promise<Exit>((resolve) => {
    const ended = (status: number | null, signal: NodeJS.Signals | null): void => {
      if (exit !== undefined) return
      exit = { status, signal }
      release()
      look()
      resolve(exit)
    }
    child.on('error', (error) => {
      chunks.all.push(Buffer.from(`${error.message}\n`))
      chunks.stderr.push(Buffer.from(`${error.message}\n`))
      ended(127, null)
    })
    // What the leader leaves behind would hold the pipes open and outlive the test.
    child.on('exit', (status, signal) => {
      sendSignal(-pid, 'SIGKILL')
      killFamily(family)
      setTimeout(ended, 2_000, status, signal).unref()
    })
    child.on('close', ended)
  })

  const text = (name: keyof typeof chunks): string => Buffer.concat(chunks[name]).toString()
  const describe = (): string => `${[command, ...args].join(' ')}\n${text('all')}`
  const started: Started = {
    pid,
    get output() {
      return text('all')
    },
    get stdout() {
      return text('stdout')
    },
    get stdoutBytes() {
      return Buffer.concat(chunks.stdout)
    },
    get stderr() {
      return text('stderr')
    },
    get exit() {
      return exit
    },
    exited,
    onOutput(looker) {
      lookers.add(looker)
    },
    waitForOutput(pattern, within = 30_000) {
      return new Promise((resolve, reject) => {
        const settle = (): void => {
          clearTimeout(timer)
          lookers.delete(looker)
        }
        const looker = (): void => {
          const match = new RegExp(pattern).exec(text('all'))
          if (match !== null) {
            settle()
            resolve(match)
          } else if (exit !== undefined) {
            settle()
            reject(new Error(`ended with ${exit.status ?? exit.signal} before ${pattern}: ${describe()}`))
          }
        }
        const timer = setTimeout(() => {
          settle()
          reject(new Error(`no ${pattern} within ${within} ms: ${describe()}`))
        }, within)
        lookers.add(looker)
        looker()
      })
    },
    signal(name) {
      if (exit === undefined) sendSignal(pid, name)
    },
    async stop(patience = 5_000) {
      if (exit !== undefined) return exit
      family = descendants(pid)
      sendSignal(pid, 'SIGTERM')
      const timer = setTimeout(sendSignal, patience, -pid, 'SIGKILL')
      const result = await exited
      clearTimeout(timer)
      return result
    },
  }
  atEnd(() => started.stop(0))
  return started
}

/** A started process with a few more words for what it is. */
export function withWords<T extends object>(started: Started, words: T): Started & T {
  // Copied by descriptor, because most of its members are live views.
  const all = { ...Object.getOwnPropertyDescriptors(started), ...Object.getOwnPropertyDescriptors(words) }
  return Object.defineProperties({}, all) as Started & T
}
