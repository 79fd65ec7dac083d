// Durations as people write them (`30s`, `2.5s`, `1h`, `250ms`), in milliseconds inside.
import { SshoalError } from './sshoal-error.ts'

const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of `text`: a number with a unit (ms, s, m, h, d), or a bare `0`. Throws INVALID_DURATION. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim())
  if (match) {
    const ms = Math.round(Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? NaN))
    if (Number.isSafeInteger(ms)) return ms
  }
  if (text.trim() === '0') return 0
  throw new SshoalError(
    'INVALID_DURATION',
    `"${text}" is not a duration: write a number and ms, s, m, h or d, such as 30s`,
  )
}

/** The shortest exact spelling of `ms`, e.g. `1h`, `90s`, `250ms`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0'
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const size = UNIT_MS[unit] ?? 1
    if (ms % size === 0) return `${ms / size}${unit}`
  }
  return `${ms}ms`
}
