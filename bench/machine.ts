// What the figures were measured on, so that nobody compares them with another machine's.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, hostname, release, totalmem } from 'node:os'

import { rootFolder } from './folders.ts'
import { run } from './process.ts'

export interface Machine {
  name: string
  processor: string
  cores: number
  memoryGb: number
  kernel: string
  node: string
  ssh2: string
  /** ssh2's optional addon; without it a visit is three times slower. */
  nativeCrypto: boolean
  openssh: string
  go: string
  dropbear: string
  commit: string
}

export async function describeMachine(): Promise<Machine> {
  const load = createRequire(import.meta.url)
  const crypto = load('ssh2/lib/protocol/crypto.js') as { bindingAvailable: boolean }
  const { version } = JSON.parse(readFileSync(load.resolve('ssh2/package.json'), 'utf8')) as {
    version: string
  }
  const text = (command: string, ...args: string[]): Promise<string> =>
    run('sh', ['-c', `${[command, ...args].join(' ')} 2>&1 || true`], { workingFolder: rootFolder }).then(
      (output) => output.trim().split('\n')[0] ?? '',
    )
  return {
    name: hostname(),
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.version,
    ssh2: version,
    nativeCrypto: crypto.bindingAvailable,
    openssh: await text('ssh', '-V'),
    go: await text('go', 'version'),
    dropbear: await text('dropbear', '-V'),
    commit: await text('git', 'rev-parse', '--short', 'HEAD'),
  }
}

/** Ticks of all cores since the start, and how many of them the host gave to others; undefined where nobody counts them. */
export interface Cores {
  all: number
  stolen: number
}

/** proc(5), /proc/stat: user nice system idle iowait irq softirq steal. */
export function readCores(): Cores | undefined {
  try {
    const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1)
    const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number)
    return { all: ticks.reduce((sum, n) => sum + n, 0), stolen: ticks[7] ?? 0 }
  } catch {
    return undefined
  }
}

/** Of the time between the two, 0 to 1. */
export function stolenShare(before: Cores | undefined, after: Cores | undefined): number | undefined {
  if (!before || !after || after.all === before.all) return undefined
  return (after.stolen - before.stolen) / (after.all - before.all)
}
