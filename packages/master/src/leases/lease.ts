// A lease as the store keeps it: a key and a port of one slave for one device, until a moment. No storing, no private key.
import { randomBytes } from 'node:crypto'

import { parsePublicKeyLine, type LeaseGrant } from '@sshoal/shared'

import type { Change, Claim, RecordRef } from '../store/store.ts'

export interface Lease {
  id: string
  project: string
  device: string
  slave: string
  port: number
  /** The OpenSSH line. */
  publicKey: string
  fingerprint: string
  /** The token that asked for it. */
  issuedBy: string
  /** ms since 1970, by the cluster's clock. */
  issuedAt: number
  expiresAt: number
  /** Another process took its port on the slave's machine; a new lease gets another. */
  portLost?: boolean
}

export type LeaseState = 'active' | 'port-lost' | 'stranded'

/** Why a lease ended; what its device reads. */
export const ENDS = {
  expired: { code: 'LEASE_EXPIRED', reason: 'the time of this lease is over' },
  revoked: { code: 'LEASE_REVOKED', reason: 'this lease was revoked' },
  replaced: { code: 'LEASE_REPLACED', reason: 'a newer lease of this device replaces this one' },
  failed: { code: 'LEASE_FAILED', reason: 'this lease could not be made' },
} as const
export type LeaseEnd = keyof typeof ENDS

export function makeLeaseId(): string {
  return randomBytes(8).toString('hex')
}

export function refOf({ project, id }: Pick<Lease, 'project' | 'id'>): RecordRef {
  return { kind: 'lease', project, id }
}

/**
 * What only this lease may hold: its key and its port on its slave, whatever the project, and its device's one place.
 * The claim on (slave, port) is the lock: of two masters that give one port away, the store lets one.
 */
export function claimsOf(lease: Lease): Claim[] {
  return [
    { index: 'fingerprint', value: lease.fingerprint, everywhere: true },
    { index: 'port', value: `${lease.slave}:${lease.port}`, everywhere: true },
    { index: 'device', value: lease.device },
  ]
}

export function putLease(lease: Lease, expect: 'absent' | number): Change {
  return { type: 'put', ref: refOf(lease), value: lease, claims: claimsOf(lease), expect }
}

/** Without its comment, which is nobody's business here. Throws INVALID_KEY. */
export function readLeaseKey(text: string): { publicKey: string; fingerprint: string } {
  const { algorithm, base64, fingerprint } = parsePublicKeyLine(text)
  return { publicKey: `${algorithm} ${base64}`, fingerprint }
}

/** As its slave keeps it. */
export function grantOf(lease: Lease, now: number): LeaseGrant {
  const { project, device, id, fingerprint, port, expiresAt } = lease
  return {
    project,
    device,
    lease: id,
    fingerprint,
    port,
    remainingMs: Math.max(0, Math.round(expiresAt - now)),
  }
}

/** As events tell of it. */
export function factsOf({ id, device, slave, port, fingerprint, expiresAt }: Lease): object {
  return { lease: id, device, slave, port, fingerprint, expiresAt: new Date(expiresAt).toISOString() }
}
