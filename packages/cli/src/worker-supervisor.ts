// Keeps N slave processes alive: starts them, restarts one that died after 1 s, 2 s, … 30 s, passes reload and stop on.
// Knows nothing of what a slave does; that they share host keys is their own agreement (the first to come makes them).
import { fork, type ChildProcess } from 'node:child_process'

import { SshoalError, type Log } from '@sshoal/shared'

import type { ReadySlave } from './roles.ts'

export interface WorkerProcess {
  script: string
  args: string[]
  execArgv: string[]
  env: Record<string, string | undefined>
}

export interface SupervisorSettings {
  workers: WorkerProcess[]
  log: Log
  /** How long a worker may take to be ready, in ms. */
  startDeadlineMs?: number
  firstWaitMs?: number
  longestWaitMs?: number
}

const START_DEADLINE_MS = 30_000
const FIRST_WAIT_MS = 1_000
const LONGEST_WAIT_MS = 30_000

class Worker {
  readonly #process: WorkerProcess
  readonly #settings: SupervisorSettings
  readonly #number: number
  #child: ChildProcess | undefined
  #timer: NodeJS.Timeout | undefined
  #waitMs: number
  #stopping = false
  #ready = false
  #gone: Promise<void> = Promise.resolve()

  constructor(settings: SupervisorSettings, index: number, process: WorkerProcess) {
    this.#settings = settings
    this.#process = process
    this.#number = index + 1
    this.#waitMs = settings.firstWaitMs ?? FIRST_WAIT_MS
  }

  /** Resolves when it is ready. Throws WORKER_FAILED where it ended before; it is not tried again then. */
  async start(): Promise<ReadySlave> {
    const { startDeadlineMs = START_DEADLINE_MS } = this.#settings
    const child = this.#fork()
    return await new Promise<ReadySlave>((resolve, reject) => {
      const timer = setTimeout(
        () => fail(`it was not ready within ${startDeadlineMs / 1_000} s`),
        startDeadlineMs,
      )
      const fail = (reason: string): void => {
        clearTimeout(timer)
        reject(new SshoalError('WORKER_FAILED', `worker ${this.#number} did not start: ${reason}`))
      }
      const early = (code: number | null, signal: string | null): void =>
        fail(`it ended with ${signal ?? `exit code ${code}`}; its log says why`)
      child.once('exit', early)
      child.once('error', (error) => fail(error.message))
      child.once('message', (message) => {
        clearTimeout(timer)
        child.off('exit', early)
        this.#watch(child)
        resolve(message as ReadySlave)
      })
    })
  }

  /** One that is still starting would die of anything but SIGTERM, and reads everything anew anyway. */
  signal(name: NodeJS.Signals): void {
    if (this.#ready || name === 'SIGTERM') this.#child?.kill(name)
  }

  /** Resolves when its process is gone. */
  async close(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#timer)
    this.signal('SIGTERM')
    await this.#gone
  }

  #fork(): ChildProcess {
    const { script, args, execArgv, env } = this.#process
    const child = fork(script, args, { execArgv, env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#child = child
    this.#ready = false
    child.once('message', () => (this.#ready = true))
    this.#gone = new Promise((resolve) => {
      child.once('exit', () => resolve())
      child.once('error', () => resolve())
    })
    return child
  }

  /** From now on its end is followed by a new start. */
  #watch(child: ChildProcess): void {
    child.once('exit', (code, signal) => this.#restart({ code, signal }))
    // One that has lived this long died of something new.
    const calm = setTimeout(() => {
      this.#waitMs = this.#settings.firstWaitMs ?? FIRST_WAIT_MS
    }, this.#settings.longestWaitMs ?? LONGEST_WAIT_MS)
    child.once('exit', () => clearTimeout(calm))
  }

  #restart(end: { code: number | null; signal: string | null }): void {
    if (this.#stopping) return
    const waitMs = this.#waitMs
    this.#waitMs = Math.min(waitMs * 2, this.#settings.longestWaitMs ?? LONGEST_WAIT_MS)
    this.#settings.log.error({ worker: this.#number, ...end, waitMs }, 'worker ended, starting it again')
    this.#timer = setTimeout(() => this.#watch(this.#fork()), waitMs)
  }
}

export interface Supervisor {
  workers: ReadySlave[]
  signal(name: NodeJS.Signals): void
  /** SIGTERM to all; resolves when the last one is gone. */
  close(): Promise<void>
}

/** Starts all workers and resolves when they are ready; where one does not start, none is left running. */
export async function startSupervisor(settings: SupervisorSettings): Promise<Supervisor> {
  const workers = settings.workers.map((process, index) => new Worker(settings, index, process))
  let closed: Promise<unknown> | undefined
  const supervisor: Supervisor = {
    workers: [],
    signal: (name) => workers.forEach((worker) => worker.signal(name)),
    async close() {
      closed ??= Promise.all(workers.map(async (worker) => worker.close()))
      await closed
    },
  }
  try {
    supervisor.workers = await Promise.all(workers.map(async (worker) => worker.start()))
    return supervisor
  } catch (error) {
    await supervisor.close()
    throw error
  }
}
