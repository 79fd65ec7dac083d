// Which targets a pool has by what they are: by region, and by what the hook says of a device. Pure.
import { SshoalError } from '@sshoal/shared'

import { readRegion } from './name.ts'

export type DetailValue = string | number | boolean

export interface Selector {
  region?: string
  /** All of them must be so. */
  details?: Record<string, DetailValue>
}

/** What a selector looks at. */
export interface Traits {
  region: string | undefined
  details: Record<string, unknown>
}

const MAX_DETAILS = 16

/** Throws INVALID_SELECTOR, INVALID_REGION. An empty one would be everybody, which nobody means. */
export function readSelector({ region, details = {} }: Selector): Selector {
  const entries = Object.entries(details)
  if (region === undefined && entries.length === 0)
    throw new SshoalError('INVALID_SELECTOR', 'a selector names a region, or details, or both')
  if (entries.length > MAX_DETAILS)
    throw new SshoalError('INVALID_SELECTOR', `a selector has at most ${MAX_DETAILS} details`)
  return {
    ...(region === undefined ? {} : { region: readRegion(region) }),
    ...(entries.length === 0 ? {} : { details: Object.fromEntries(entries) }),
  }
}

/** Values are compared as text; where the hook says a list, one of it is enough. */
export function fits({ region, details = {} }: Selector, traits: Traits): boolean {
  if (region !== undefined && region !== traits.region) return false
  return Object.entries(details).every(([name, wanted]) => {
    if (!Object.hasOwn(traits.details, name)) return false
    return [traits.details[name]].flat().some((value) => isScalar(value) && String(value) === String(wanted))
  })
}

function isScalar(value: unknown): value is DetailValue {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}
