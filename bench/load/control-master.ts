// One master of the control plane as a process, and load on its REST. Shared by what measures it alone and over Redis.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { benchFolder } from '../folders.ts'
import { run, start, type Program } from '../process.ts'
import { programs } from '../programs.ts'
import { listening } from '../wait.ts'
import { takePort, type Bench } from '../work.ts'

export interface Asked {
  count: number
  failed: number
  seconds: number
  p50: number
  p99: number
}

export async function ask(url: string, flags: string[]): Promise<Asked> {
  return JSON.parse(await run(programs.visits, ['http', '-url', url, ...flags])) as Asked
}

/** Slots without a limit per source, which is measured by itself. */
export const UNLIMITED = ['--connect-rate', '1000000', '--connect-burst', '10000000']

export class ControlMaster {
  readonly url: string
  readonly #data: string
  readonly #port: number
  readonly #bench: Bench
  #program: Program | undefined

  constructor(bench: Bench) {
    this.#bench = bench
    this.#port = takePort()
    this.url = `http://127.0.0.1:${this.#port}`
    this.#data = join(bench.folder, `plane-${this.#port}`)
  }

  get pid(): number {
    return this.#program?.pid ?? 0
  }

  async start(flags: string[] = []): Promise<void> {
    this.#program = start(
      'node',
      [
        this.#bench.program,
        ['master', '--listen', `127.0.0.1:${this.#port}`, '--data', this.#data, '--log-level', 'warn'],
        ['--hook', join(benchFolder, 'hook.ts'), ...flags],
      ].flat(),
      { logFile: join(this.#bench.folder, 'plane.log') },
    )
    await listening(this.#port)
  }

  kill(): Promise<void> {
    return this.#program?.stop('SIGKILL') ?? Promise.resolve()
  }

  token(name: 'admin' | 'slave'): string {
    return readFileSync(join(this.#data, `${name}-token`), 'utf8').trim()
  }

  async tunnels(): Promise<number> {
    const headers = { authorization: `Bearer ${this.token('admin')}` }
    const answer = await fetch(`${this.url}/cluster`, { headers })
    return ((await answer.json()) as { totals: { tunnels: number } }).totals.tunnels
  }

  /** p99 in ms since the last call. */
  async loopDelay(): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text()
    return Number(/^nodejs_eventloop_lag_p99_seconds(?:\{[^}]*\})? (\S+)/m.exec(text)?.[1] ?? NaN) * 1_000
  }
}
