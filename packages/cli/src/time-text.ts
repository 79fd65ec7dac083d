// Times as people read them in a table: how long ago, how long still, how long in all; and as they write them.
import { parseDuration, SshoalError } from '@sshoal/shared'

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['m', 60],
  ['s', 1],
] as const

/** `3m`, `2d`: the largest unit alone, rounded down. */
export function shortSpan(seconds: number): string {
  for (const [unit, size] of UNITS) if (seconds >= size) return `${Math.floor(seconds / size)}${unit}`
  return '0s'
}

/** `3m ago` or `in 2h` for an RFC 3339 time or ms since 1970; undefined when there is none. */
export function relativeTime(time: string | number | null | undefined, now = Date.now()): string | undefined {
  if (time === null || time === undefined) return undefined
  const at = new Date(time).getTime()
  if (Number.isNaN(at)) return String(time)
  const seconds = (now - at) / 1_000
  if (Math.abs(seconds) < 1) return 'now'
  return seconds > 0 ? `${shortSpan(seconds)} ago` : `in ${shortSpan(-seconds)}`
}

/** RFC 3339 of what a person wrote for `flag`: a duration from now (`90d`) or a date. Throws INVALID_VALUE. */
export function readMoment(text: string, flag: string, direction: 'ahead' | 'ago' = 'ahead'): string {
  const span = /^\d+(\.\d+)?(s|m|h|d)$/.test(text) ? parseDuration(text) : undefined
  const at =
    span === undefined ? new Date(text) : new Date(Date.now() + (direction === 'ahead' ? span : -span))
  if (Number.isNaN(at.getTime()))
    throw new SshoalError(
      'INVALID_VALUE',
      `${flag}: "${text}" is neither a duration (90d) nor a date (2030-01-31)`,
    )
  return at.toISOString()
}
