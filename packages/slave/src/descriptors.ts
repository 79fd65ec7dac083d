// How many tunnels this process can hold: each takes a socket, a bound one a second, visits take more.
import { readFileSync } from 'node:fs'

/** Kept free for listeners, the link, files and a few visits. */
const RESERVED = 512

/** The soft limit of open files of this process; Infinity where the system does not say. */
export function descriptorLimit(): number {
  try {
    const match = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'latin1'))
    return match?.[1] === undefined || match[1] === 'unlimited' ? Infinity : Number(match[1])
  } catch {
    return Infinity
  }
}

/** Tunnels that fit under the limit when each is bound (two sockets); at least 1. */
export function capacityOf(limit: number): number {
  return limit === Infinity ? 100_000 : Math.max(1, Math.floor((limit - RESERVED) / 2))
}
