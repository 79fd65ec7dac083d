// Times as people read them in a table: how long ago, how long still, how long in all.

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
