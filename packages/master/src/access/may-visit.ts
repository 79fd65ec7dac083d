// May this user open a connection to this port of this target, by this slave? Pure: everything it looks at is handed in.
import { serves, type Gate } from './gate.ts'
import { bestGrant, covers, isLive, type Grant } from './grant.ts'
import type { Target } from './target.ts'

export interface MayVisit {
  /** All of the user's. */
  grants: readonly Grant[]
  target: Pick<Target, 'id' | 'gates'>
  /** Ids of the pools that have the target. */
  pools: ReadonlySet<string>
  /** The gates to which the target is attached. */
  gates: readonly Gate[]
  /** Of the slave where the user logged in. */
  region: string | undefined
  asked: { port: number; forward?: string | undefined }
  now: number
}

/** The grant by which it is allowed; the union of all of them counts, so that losing one of two changes nothing. */
export function mayVisit({ grants, target, pools, gates, region, asked, now }: MayVisit): Grant | undefined {
  if (!isServed(target, gates, region)) return undefined
  return bestGrant(
    grants.filter((grant) => isLive(grant, now) && isOn(grant, target.id, pools) && covers(grant, asked)),
  )
}

/** Attached to none: by every slave. A gate that is not there any more lets nobody through. */
export function isServed(
  target: Pick<Target, 'gates'>,
  gates: readonly Gate[],
  region: string | undefined,
): boolean {
  return target.gates.length === 0 || gates.some((gate) => serves(gate, region))
}

export function isOn({ on }: Grant, target: string, pools: ReadonlySet<string>): boolean {
  return on.kind === 'target' ? on.id === target : pools.has(on.id)
}
