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
 * Undefined: none takes devices. This is the rule; least-busy.ts finds the same without looking at every slave again.
 */
export function selectSlave<C extends Candidate>(
  slaves: readonly C[],
  wish: Wish,
  fallback: RegionFallback,
): C | undefined {
  const [first, ...others] = eligibleSlaves(slaves, wish, fallback)
  return first && others.reduce((best, slave) => (isLessBusy(slave, best) ? slave : best), first)
}

function isLessBusy(a: Candidate, b: Candidate): boolean {
  const more = shareOf(a) - shareOf(b) || a.reserved - b.reserved
  return more === 0 ? a.id < b.id : more < 0
}

export function shareOf({ tunnels, reserved, capacity }: Candidate): number {
  return (tunnels + reserved) / capacity
}

export function regionsToTry({ region }: Wish, fallback: RegionFallback): readonly (string | undefined)[] {
  return region === undefined ? [undefined] : [region, ...(fallback.get(region) ?? [])]
}

export function mayBeChosen(slave: Candidate, region?: string, port?: number): boolean {
  return (
    slave.state === 'ready' &&
    slave.tunnels < slave.capacity &&
    (region === undefined || slave.region === region) &&
    (port === undefined || slave.sshPorts.includes(port))
  )
}
