// How many tunnels this process can hold: each takes a socket, a bound one a second and a port, visits take more.
import { readFileSync } from 'node:fs'

/** Kept free for listeners, the link, files and a few visits. */
const RESERVED = 512
/** Where the system names no limit. */
const MOST = 100_000

/** What sets the capacity: the operator, the limit of open files, or the range of ports. */
export type CapacityLimit = 'capacity' | 'descriptors' | 'forward-ports'

export interface Capacity {
  tunnels: number
  limit: CapacityLimit
}

/** The soft limit of open files of this process; Infinity where the system does not say. */
export function descriptorLimit(): number {
  try {
    const match = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'latin1'))
    return match?.[1] === undefined || match[1] === 'unlimited' ? Infinity : Number(match[1])
  } catch {
    return Infinity
  }
}

/** Sockets that tunnels may take in all: one each, a second for each bound forward; at least 2. */
export function socketsFor(limit: number): number {
  return limit === Infinity ? 2 * MOST : Math.max(2, limit - RESERVED)
}

/**
 * Sockets that the gate may take (users, relays, hosts): what is left when all tunnels are there, at least half of what is
 * kept free anyway.
 */
export function gateSocketsFor(limit: number, capacity: number): number {
  if (limit === Infinity) return MOST
  return Math.max(1, limit - RESERVED / 2 - Math.min(socketsFor(limit), 2 * capacity))
}

/** Tunnels that fit under the limit when each is bound (two sockets); at least 1. */
export function capacityOf(limit: number): number {
  return Math.floor(socketsFor(limit) / 2)
}

/**
 * The least of what the operator wants, what the descriptors allow, and the ports there are; the first of equals. Who names
 * a capacity may mean named tunnels, which take one descriptor; the bound among them are counted when they come.
 */
export function effectiveCapacity(facts: {
  wanted: number | undefined
  descriptors: number
  ports: number
}): Capacity {
  const limits: Capacity[] = [
    ...(facts.wanted === undefined ? [] : [{ tunnels: facts.wanted, limit: 'capacity' as const }]),
    {
      tunnels: facts.wanted === undefined ? capacityOf(facts.descriptors) : socketsFor(facts.descriptors),
      limit: 'descriptors',
    },
    { tunnels: facts.ports, limit: 'forward-ports' },
  ]
  return limits.reduce((least, each) => (each.tunnels < least.tunnels ? each : least))
}
