// A host, and maybe a port, as people hand it in: `HOST`, `HOST:PORT`, `[2001:db8::1]:22`, `2001:db8::1`.
import { parseHostPort } from '@sshoal/shared'

/** Throws INVALID_VALUE. Without a port the master's own default counts. */
export function readPlace(text: string): { host: string; port?: number } {
  if (/^\[.*\]:\d+$|^[^:]*:\d+$/.test(text)) return parseHostPort(text)
  return { host: text.replace(/^\[(.*)\]$/, '$1') }
}
