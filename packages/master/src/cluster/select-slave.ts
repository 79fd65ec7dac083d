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

/** Those that may be chosen: ready, with room, reachable on the wished port; of the wished region, else of the first fallback that has any. */
export function eligibleSlaves<C extends Candidate>(
  slaves: readonly C[],
  wish: Wish,
  fallback: RegionFallback,
): readonly C[] {
  const regions =
    wish.region === undefined ? [undefined] : [wish.region, ...(fallback.get(wish.region) ?? [])]
  for (const region of regions) {
    const found = slaves.filter(
      (slave) =>
        slave.state === 'ready' &&
        slave.tunnels < slave.capacity &&
        (region === undefined || slave.region === region) &&
        (wish.port === undefined || slave.sshPorts.includes(wish.port)),
    )
    if (found.length > 0) return found
  }
  return []
}

/**
 * The least busy: the smallest (tunnels + reserved) / capacity; of equals the one with fewer reservations, then the first
 * by id. A reservation orders slaves, it never makes one full. Undefined: none.
 */
export function leastBusy<C extends Pick<Candidate, 'id' | 'tunnels' | 'reserved' | 'capacity'>>(
  slaves: readonly C[],
): C | undefined {
  let best: C | undefined
  let bestShare = Infinity
  let bestReserved = 0
  for (const slave of slaves) {
    const { reserved } = slave
    const share = (slave.tunnels + reserved) / slave.capacity
    if (best && share > bestShare) continue
    if (
      best &&
      share === bestShare &&
      (reserved > bestReserved || (reserved === bestReserved && slave.id > best.id))
    )
      continue
    best = slave
    bestShare = share
    bestReserved = reserved
  }
  return best
}

/** Which slave the next device is sent to; undefined: none takes devices. */
export function selectSlave<C extends Candidate>(
  slaves: readonly C[],
  wish: Wish,
  fallback: RegionFallback,
): C | undefined {
  return leastBusy(eligibleSlaves(slaves, wish, fallback))
}
