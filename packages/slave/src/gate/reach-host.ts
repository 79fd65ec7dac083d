// The last step to a host: a socket that `--dial` allows. What users read names the target, never its address (G006).
import type { SlaveMetrics } from '../metrics.ts'
import type { Dialer } from './dialer.ts'
import { notReached, type Reached } from './far-end.ts'
import type { GateSockets } from './gate-sockets.ts'

export interface HostParts {
  dialer: Dialer
  sockets: GateSockets
  metrics: SlaveMetrics
}

export async function reachHost(
  { dialer, sockets, metrics }: HostParts,
  target: string,
  to: { address: string; port: number },
): Promise<Reached> {
  if (!sockets.take()) return notReached({ code: 'GATE_FULL', reason: 'this slave has no socket left' })
  const dialled = await dialer.dial(to.address, to.port)
  if (dialled.outcome !== 'connected') {
    sockets.give()
    return notReached(
      dialled.outcome === 'forbidden'
        ? { code: 'NOT_DIALLED', reason: `port ${to.port} of ${target} is not dialled from here (--dial)` }
        : {
            code: 'TARGET_REFUSED',
            reason: `${target} cannot be reached: ${dialled.reason}`,
            connectFailed: true,
          },
    )
  }
  const { socket } = dialled
  socket.once('close', () => sockets.give())
  metrics.visitBegan()
  socket.once('close', () => metrics.visitEnded())
  return {
    outcome: 'reached',
    far: {
      join: (users) => users.pump(socket),
      destroy: () => void socket.destroy(),
    },
  }
}
