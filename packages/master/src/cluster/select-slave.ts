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
  for (const region of regionsToTry(wish, fallback)) {
    const found = slaves.filter((slave) => mayBeChosen(slave, region, wish.port))
    if (found.length > 0) return found
  }
  return []
}

/**
 * Which slave the next device is sent to, of the eligible the least busy: the smallest (tunnels + reserved) / capacity; of
 * equals the one with fewer reservations, then the first by id. A reservation orders slaves, it never makes one full.
 * Undefined: none takes devices. Goes through them once and makes no list: this is done for every slot.
 */
export function selectSlave<C extends Candidate>(
  slaves: readonly C[],
  wish: Wish,
  fallback: RegionFallback,
): C | undefined {
  for (const region of regionsToTry(wish, fallback)) {
    const best = leastBusy(slaves, region, wish.port)
    if (best) return best
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
    // Last, because few come so far.
    if (!mayBeChosen(slave, region, port)) continue
    best = slave
    bestShare = share
    bestReserved = reserved
  }
  return best
}

function regionsToTry({ region }: Wish, fallback: RegionFallback): readonly (string | undefined)[] {
  return region === undefined ? [undefined] : [region, ...(fallback.get(region) ?? [])]
}

function mayBeChosen(slave: Candidate, region: string | undefined, port: number | undefined): boolean {
  return (
    slave.state === 'ready' &&
    slave.tunnels < slave.capacity &&
    (region === undefined || slave.region === region) &&
    (port === undefined || slave.sshPorts.includes(port))
  )
}
