// Simulated devices: a process of load/devices.
import type { Contender } from './contender.ts'
import { start } from './process.ts'
import { programs } from './programs.ts'

export interface DeviceOptions {
  contender: Contender
  ports: number[]
  count: number
  /** Logins at once; 0: all. */
  atOnce?: number
  cipher?: string
  /** A named forward, which listens on no port. */
  named?: boolean
  sources?: number
  first?: number
  reconnect?: boolean
  /** Processor threads of the simulation. */
  threads?: number
}

export interface Up {
  up: number
  failed: number
  error: string | null
  seconds: number
  p50: number
  p99: number
}

export interface Devices {
  pid: number
  up(): Promise<Up>
  down(): Promise<void>
  count(): Promise<number>
  /** All are up again after a loss; seconds since the first one was lost. */
  back(): Promise<{ seconds: number; retries: number }>
  stop(): Promise<void>
}

export async function startDevices(options: DeviceOptions): Promise<Devices> {
  const { contender, ports, count, named = false, sources = 32, threads = 1 } = options
  const flags = {
    addr: ports.map((port) => `127.0.0.1:${port}`).join(','),
    n: count,
    c: options.atOnce ?? contender.atOnce ?? 32,
    cipher: options.cipher ?? contender.ciphers[0] ?? '',
    user: contender.user,
    'one-key': contender.oneKey,
    bind: named ? 'bench' : 'localhost',
    sources,
    first: options.first ?? 0,
    reconnect: options.reconnect ?? false,
  }
  const program = start(
    programs.devices,
    Object.entries(flags).map(([name, value]) => `-${name}=${value}`),
    { environment: { GOMAXPROCS: String(threads), GOGC: '400' } },
  )
  const said = async (event: string, deadlineMs?: number): Promise<Record<string, unknown>> => {
    for (;;) {
      const line = await program.hear(deadlineMs)
      if (line.event === event) return line
    }
  }
  await said('ready')
  return {
    pid: program.pid,
    async up() {
      program.tell('up')
      return (await said('up', 300_000)) as unknown as Up
    },
    async down() {
      program.tell('down')
      await said('down')
    },
    async count() {
      program.tell('count')
      return Number((await said('count')).up)
    },
    async back() {
      const { seconds, retries } = await said('back', 300_000)
      return { seconds: Number(seconds), retries: Number(retries) }
    },
    stop: () => program.stop('SIGKILL'),
  }
}
