// Names a holder in one string, so that maps can be keyed by it.
import type { Holder } from './protocol.ts'

/** Unique per (project, device, lease). NUL cannot stand in any of the three. */
export function holderKey(holder: Holder): string {
  return holder.lease === undefined
    ? `${holder.project}\0${holder.device}`
    : `${holder.project}\0${holder.device}\0${holder.lease}`
}
