// In which form a slot is told: JSON, or lines for a shell.

export type ConnectFormat = 'json' | 'text'

/** By the parameter, else by the header. */
export function wantsText(format: ConnectFormat | undefined, accept: string | undefined): boolean {
  if (format !== undefined) return format === 'text'
  return accept !== undefined && accept.includes('text/plain') && !accept.includes('application/json')
}
