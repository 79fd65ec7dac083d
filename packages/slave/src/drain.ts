// Moves the devices of a slave away: those without visits first, spread over the time; those with visits when they are
// quiet, at the latest when the time is over. A device that is cut reads that it should ask the master again. A lease has
// no other slave to go to: its tunnel stays until the end of the time.
import { refusalText } from './refusal.ts'
import type { LiveTunnel } from './tunnel.ts'
import type { Tunnels } from './tunnels.ts'

const REFUSAL = { code: 'DRAINING', reason: 'this slave is being drained; ask the master for another' }
const TICK_MS = 100

/** Resolves when no tunnel is left, or at `stop`, which leaves those that are still up alone. */
export function drainTunnels(tunnels: Tunnels, overMs: number): { done: Promise<void>; stop(): void } {
  const startedAt = performance.now()
  const waiting = [...tunnels.values()]
    .filter(({ facts }) => facts.holder.lease === undefined)
    .sort((a, b) => a.visits.count - b.visits.count)
  const total = waiting.length
  let timer: NodeJS.Timeout | undefined
  let stopped = (): void => {}
  const done = new Promise<void>((resolve) => {
    stopped = resolve
    const step = (): void => {
      const passed = performance.now() - startedAt
      const due = passed >= overMs ? total : Math.ceil((total * passed) / overMs)
      const left = passed >= overMs ? 0 : total - due
      while (waiting.length > left) {
        const tunnel = waiting.shift()
        if (tunnel) leave(tunnels, tunnel, passed >= overMs)
      }
      if (passed >= overMs || tunnels.size === 0) {
        clearInterval(timer)
        for (const tunnel of tunnels.values()) cut(tunnels, tunnel)
        resolve()
      }
    }
    timer = setInterval(step, TICK_MS)
    step()
  })
  return {
    done,
    stop: () => {
      clearInterval(timer)
      stopped()
    },
  }
}

function leave(tunnels: Tunnels, tunnel: LiveTunnel, now: boolean): void {
  if (now) return cut(tunnels, tunnel)
  tunnel.visits.onQuiet(() => cut(tunnels, tunnel))
}

function cut(tunnels: Tunnels, tunnel: LiveTunnel): void {
  if (tunnel.ended !== undefined) return
  tunnels.down(tunnel, REFUSAL.reason, 'draining')
  tunnel.facts.connection.disconnect(refusalText(REFUSAL))
}
