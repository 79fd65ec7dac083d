// What a token is: who it speaks for, and how its text is made, read and compared. No storing.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

export const ROLES = ['admin', 'operator', 'integrator', 'user', 'slave'] as const
export type Role = (typeof ROLES)[number]

/** All projects; for admin and slave tokens. */
export const ALL_PROJECTS = '*'

/** Whom a request speaks for. */
export interface Principal {
  tokenId: string
  role: Role
  /** `*`: all. */
  project: string
  label: string
  /** Of role user: the id of the user whose it is. */
  user?: string
  /** ms since 1970. */
  expiresAt?: number
}

/** A token as it is stored and listed: everything but the secret. */
export interface Token {
  id: string
  role: Role
  project: string
  label: string
  /** Of role user: the id of the user whose it is. */
  user?: string
  /** ms since 1970. */
  createdAt: number
  expiresAt?: number
}

export interface TokenText {
  /** Public: finds the record without looking at the secret. */
  id: string
  secret: string
  text: string
}

const FORM = /^sshoal_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/

/** `sshoal_<id>_<secret>`; the secret is 32 random bytes. */
export function makeTokenText(): TokenText {
  const id = randomBytes(8).toString('hex')
  const secret = randomBytes(32).toString('base64url')
  return { id, secret, text: `sshoal_${id}_${secret}` }
}

export function readTokenText(text: string): TokenText | undefined {
  const match = FORM.exec(text)
  return match ? { id: match[1] ?? '', secret: match[2] ?? '', text } : undefined
}

/**
 * SHA-256, hex. A password hash would be wrong here: it slows down guessing of what people choose, and nobody guesses
 * 256 random bits; it would only cost a few milliseconds of every request.
 */
export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

/** In constant time; both are hashed first, so that lengths say nothing either. */
export function sameText(given: string, expected: string): boolean {
  return timingSafeEqual(
    createHash('sha256').update(given).digest(),
    createHash('sha256').update(expected).digest(),
  )
}

/** Which roles a role may act as. Nobody but a slave is a slave: its link speaks for devices. */
const INCLUDES: Record<Role, readonly Role[]> = {
  admin: ['admin', 'operator', 'integrator', 'user'],
  operator: ['operator'],
  integrator: ['integrator'],
  user: ['user'],
  slave: ['slave'],
}

export function mayActAs(role: Role, wanted: Role): boolean {
  return INCLUDES[role].includes(wanted)
}
