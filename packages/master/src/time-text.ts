// Times as REST takes and gives them (RFC 3339).

/** ms since 1970; undefined: it is no time, or does not say of which day. */
export function parseTime(text: string): number | undefined {
  const ms = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : NaN
  return Number.isNaN(ms) ? undefined : ms
}

export function timeText(ms: number): string {
  return new Date(ms).toISOString()
}
