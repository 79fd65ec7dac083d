// One thing that is measured: gets what it needs handed in, adds its figures.
import type { Contender, Keys, Running } from './contender.ts'
import type { Figures } from './figures.ts'

export interface Bench {
  folder: string
  keys: Keys
  contenders: readonly Contender[]
  figures: Figures
  /** All of the work, not the quick part. */
  full: boolean
  /** Rounds of each measurement; the contenders take turns in each. */
  rounds: number
  /** The build of ours that the control plane is measured with. */
  program: string
  say(text: string): void
}

export interface Work {
  name: string
  /** What it shows, in a line. */
  title: string
  /** How often it measures everything, where that is not as often as in the other works. */
  rounds?(full: boolean): number
  run(bench: Bench): Promise<void>
}

let nextPort = 4_000

/** SSH ports that nobody else of this run has. */
export function takePort(): number {
  nextPort += 10
  return nextPort
}

/** Starts those contenders, lets `use` have them, stops them. One that does not start is left out, and said so. */
export async function withContenders(
  bench: Bench,
  contenders: readonly Contender[],
  use: (running: Map<Contender, Running>) => Promise<void>,
  options: { slaveFlags?: string[]; threads?: number } = {},
): Promise<void> {
  const running = new Map<Contender, Running>()
  try {
    for (const contender of contenders) {
      const { folder, keys } = bench
      try {
        running.set(contender, await contender.start({ folder, keys, sshPort: takePort(), ...options }))
      } catch (error) {
        bench.say(`  ${contender.name} does not start: ${String(error)}`)
      }
    }
    await use(running)
  } finally {
    await Promise.all([...running.values()].map((one) => one.stop()))
  }
}
