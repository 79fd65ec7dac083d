// `sshoal lease ls --watch`: the table again every second, its clocks running down between two looks at the master.
import type { Context } from '../verb.ts'
import type { Lease } from './lease-record.ts'

const TICK_MS = 1_000
/** How many ticks an answer serves. */
const TICKS_PER_LOOK = 3
/** To the top left, and nothing below. */
const CLEAR = '\u001b[H\u001b[2J'

export interface LeaseWatch {
  read(): Promise<{ leases: Lease[] }>
  /** Of an answer that came `ageMs` ago. */
  table(leases: readonly Lease[], ageMs: number): string
  context: Context
}

/** Until a signal ends the process, or the master does not answer. */
export async function watchLeases(watch: LeaseWatch): Promise<never> {
  const { terminal } = watch.context
  for (;;) {
    const { leases } = await watch.read()
    const readAt = performance.now()
    for (let tick = 0; tick < TICKS_PER_LOOK; tick++) {
      const ageMs = performance.now() - readAt
      const left = leases.filter(({ remainingMs }) => remainingMs > ageMs)
      terminal.out(`${terminal.width === undefined ? '' : CLEAR}${watch.table(left, ageMs)}`)
      await new Promise((resolve) => setTimeout(resolve, TICK_MS))
    }
  }
}
