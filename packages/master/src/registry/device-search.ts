// What `?q=` finds: a part of a device's id, name, region or MAC. Pure.
import type { Device } from './device.ts'

/** Case does not count, and a MAC is found in any spelling. Undefined or empty: everything. */
export function matcher(q: string | undefined): (device: Device) => boolean {
  if (q === undefined || q === '') return () => true
  const wanted = q.toLowerCase()
  const bare = wanted.replace(/[:.-]/g, '')
  const hex = /^[0-9a-f]+$/.test(bare) ? bare : undefined
  return (device) =>
    [device.id, device.name, device.region].some((text) => text?.toLowerCase().includes(wanted)) ||
    (hex !== undefined && device.mac?.includes(hex) === true)
}
