// One line of the audit: a change, or a visit. Ids are made so that the store's ascending order is newest first.
import { createHash, randomUUID } from 'node:crypto'

import type { VisitReport } from '@sshoal/shared'

import type { Change, Claim } from '../store/store.ts'

/** What a line is about; by these it is found again. */
export interface AuditAbout {
  /** The login as it was then, and the id, which never is another's. */
  user?: string
  userId?: string
  target?: string
  pool?: string
  gate?: string
  grant?: string
  device?: string
  fingerprint?: string
}

export interface AuditRecord extends AuditAbout {
  id: string
  project: string
  /** ms since 1970. */
  at: number
  /** `visit`, or the type of the change's event. */
  type: string
  by?: { token: string; label: string }
  before?: unknown
  after?: unknown
  visit?: AuditVisit
}

export interface AuditVisit {
  id: string
  slave: string
  /** Of the slave, while the visit stands: short for what its hello said. */
  process?: string
  via?: string
  remoteAddress: string
  port: number
  forward?: string
  account?: string
  ended?: {
    /** ms since 1970. */
    at: number
    reason: string
    /** Missing: its slave was lost and has not said. */
    bytesToTarget?: number
    bytesFromTarget?: number
  }
}

export const AUDIT = 'audit'
/** A claim of every visit that stands, to find those of a slave. */
export const STANDING = 'standing'
const LATEST = 9_999_999_999_999

/** The ids of everything that was at `at` or earlier begin with this or stand behind it. */
export function auditPlace(at: number): string {
  return String(LATEST - Math.min(LATEST, Math.max(0, Math.trunc(at)))).padStart(13, '0')
}

/** Of a change. */
export function auditRecord(entry: Omit<AuditRecord, 'id' | 'at' | 'visit'>, at: number): AuditRecord {
  return { id: `${auditPlace(at)}.${randomUUID().slice(0, 13)}`, at, ...entry }
}

export function putAudit(
  entry: Omit<AuditRecord, 'id' | 'at' | 'visit'>,
  at: number,
): Extract<Change, { type: 'put' }> {
  const value = auditRecord(entry, at)
  return { type: 'put', ref: { kind: AUDIT, project: value.project, id: value.id }, value }
}

/** The same record at a visit's begin and at its end. `instance`: of the slave, as its hello says it. */
export function visitAudit(report: VisitReport, slave: string, instance?: string): AuditRecord {
  const { id, project, user, login, fingerprint, target, grant, startedAt } = report
  const { via, remoteAddress, port, forward, account, ended } = report
  return {
    id: `${auditPlace(startedAt)}.v${id.slice(0, 64)}`,
    project,
    at: startedAt,
    type: 'visit',
    user: login,
    userId: user,
    target,
    grant,
    fingerprint,
    visit: {
      id,
      slave,
      ...(instance === undefined || ended ? {} : { process: short(instance) }),
      ...(via === undefined ? {} : { via }),
      remoteAddress,
      port,
      ...(forward === undefined ? {} : { forward }),
      ...(account === undefined ? {} : { account }),
      ...(ended === undefined ? {} : { ended }),
    },
  }
}

/** A line of the audit as the store keeps it. */
export function claimsOfAudit({ id, visit }: AuditRecord): Claim[] {
  if (!visit || visit.ended || visit.process === undefined) return []
  return [{ index: STANDING, value: `${short(visit.slave)}.${visit.process}.${short(id)}` }]
}

/** Whose visits a claim says to be standing: to be compared with the same of a slave that is there. */
export function standingAt(value: string): { slave: string; process: string } {
  const [slave = '', process = ''] = value.split('.')
  return { slave, process }
}

/** As a claim names a slave, its process or a visit: slaves choose these texts, of any length and characters. */
export function short(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}
