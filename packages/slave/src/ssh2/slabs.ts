// Memory for bytes on their way, used again and again. Fresh memory of this size comes from the kernel each time, page by
// page, and makes V8 collect its whole heap when enough of it has gathered outside.
export const SLAB_BYTES = 256 * 1024
/** More of them than that in a burst go to the collector: 64 visits at full speed at once. */
const KEPT_SLABS = 64

const kept: Buffer[] = []

export function takeSlab(): Buffer {
  return kept.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES)
}

/** Once, by its owner, when nobody reads it any more. */
export function giveSlabBack(slab: Buffer): void {
  if (kept.length < KEPT_SLABS) kept.push(slab)
}
