// A lease as REST shows it, and as people read it.
import { formatHostPort } from '@sshoal/shared'

import { formatFields } from '../table.ts'
import { relativeTime } from '../time-text.ts'

export interface Lease {
  id: string
  project?: string
  device: string
  state: string
  publicKey: string
  fingerprint: string
  port: number
  slave: string
  connected: boolean
  issuedAt: string
  expiresAt: string
  remainingMs: number
  host?: string
  sshPort?: number
  knownHosts?: string
  visit?: { address: string; port: number }
  command?: string
}

export interface IssuedLease extends Lease {
  privateKey?: string
}

/** `1:04:09`, `29:58`, `0:07`: what is left, as a clock that runs down. */
export function countdown(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1_000))
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor((seconds % 3_600) / 60)]
  const two = (value: number): string => String(value).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`
}

/** Of an answer that came `ageMs` ago. */
export function leftOf(lease: Lease, ageMs = 0): string {
  return countdown(lease.remainingMs - ageMs)
}

export function visitText({ visit, port }: Lease): string {
  return visit ? formatHostPort(visit.address, visit.port) : String(port)
}

export function stateText({ state, connected }: Lease): string {
  return state === 'active' ? (connected ? 'connected' : 'waiting') : state
}

export function describeLease(lease: Lease): string {
  return formatFields([
    ['lease', lease.id],
    ['device', lease.device],
    ['state', stateText(lease)],
    ['left', leftOf(lease)],
    ['ends', lease.expiresAt],
    ['issued', relativeTime(lease.issuedAt)],
    ['slave', lease.slave],
    ['connects to', lease.host === undefined ? undefined : formatHostPort(lease.host, lease.sshPort ?? 22)],
    ['visitors', visitText(lease)],
    ['key', lease.fingerprint],
    ['command', lease.command],
  ])
}
