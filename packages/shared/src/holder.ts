// Whose a tunnel is: the default project, and a holder named in one string, so that maps can be keyed by it.
import type { Holder } from './protocol.ts'

/** To which everything belongs that does not say otherwise. */
export const DEFAULT_PROJECT = 'default'

/** Unique per (project, device, lease). NUL cannot stand in any of the three. */
export function holderKey(holder: Holder): string {
  return holder.lease === undefined
    ? `${holder.project}\0${holder.device}`
    : `${holder.project}\0${holder.device}\0${holder.lease}`
}

/** What `holderKey` was made of. */
export function holderOfKey(key: string): Holder {
  const [project = '', device = '', lease] = key.split('\0')
  return lease === undefined ? { project, device } : { project, device, lease }
}
