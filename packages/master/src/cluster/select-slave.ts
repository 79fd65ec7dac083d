// Which slave the next device is sent to. A pure function over plain numbers; reservations and regions are the caller's facts.

export interface Candidate {
  id: string
  region: string | undefined
  state: 'ready' | 'stale' | 'draining'
  /** SSH ports on which devices reach it. */
  sshPorts: readonly number[]
  tunnels: number
  reserved: number
  capacity: number
}

export interface Wish {
  region?: string
  port?: number
}

/** Regions to try, in order, when the wished one has no slave that takes devices. */
export type RegionFallback = ReadonlyMap<string, readonly string[]>

/**
 * The least busy: the smallest (tunnels + reserved) / capacity; of equals the one with fewer reservations, then the first
 * by id. Only ready slaves with room take part; a reservation orders slaves, it never makes one full. Undefined: none.
 */
export function selectSlave<C extends Candidate>(
  slaves: readonly C[],
  wish: Wish,
  fallback: RegionFallback,
): C | undefined {
  if (wish.region === undefined) return leastBusy(slaves, undefined, wish.port)
  for (const region of [wish.region, ...(fallback.get(wish.region) ?? [])]) {
    const found = leastBusy(slaves, region, wish.port)
    if (found) return found
  }
  return undefined
}

function leastBusy<C extends Candidate>(
  slaves: readonly C[],
  region: string | undefined,
  port: number | undefined,
): C | undefined {
  let best: C | undefined
  let bestShare = Infinity
  for (const slave of slaves) {
    if (slave.state !== 'ready' || slave.tunnels >= slave.capacity) continue
    if (region !== undefined && slave.region !== region) continue
    if (port !== undefined && !slave.sshPorts.includes(port)) continue
    const share = (slave.tunnels + slave.reserved) / slave.capacity
    if (best && (share > bestShare || (share === bestShare && !before(slave, best)))) continue
    best = slave
    bestShare = share
  }
  return best
}

function before(a: Candidate, b: Candidate): boolean {
  return a.reserved === b.reserved ? a.id < b.id : a.reserved < b.reserved
}
