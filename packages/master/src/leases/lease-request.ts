// What somebody asks for, in the words of the master: strict numbers, MAC in any spelling, everything checked before any work.
import { formatDuration, parseDuration, SshoalError } from '@sshoal/shared'

export type LeaseKeyType = 'ed25519' | 'rsa'

export interface LeaseRequest {
  /** An id, or a MAC in any spelling. One of the two is given. */
  device?: string | undefined
  macaddress?: string | undefined
  /** ms, or a duration such as `30m`. */
  timeout: number | string
  port?: number | undefined
  /** An OpenSSH public key line; then no private key exists on our side. */
  publicKey?: string | undefined
  region?: string | undefined
  /** Of the key that is made; default ed25519. */
  type?: LeaseKeyType | undefined
  /** The token that asks. */
  issuedBy: string
}

/** A whole number of ms above 0, digits alone or a duration, up to the most that is allowed. Throws INVALID_TIMEOUT. */
export function readTimeout(timeout: number | string, mostMs: number): number {
  const ms = typeof timeout === 'number' ? timeout : readText(timeout)
  if (!Number.isSafeInteger(ms) || ms <= 0)
    throw new SshoalError(
      'INVALID_TIMEOUT',
      `"${String(timeout).slice(0, 60)}" is not a time for a lease: write milliseconds above 0, or a duration such as 30m`,
    )
  if (ms > mostMs)
    throw new SshoalError(
      'INVALID_TIMEOUT',
      `a lease lasts at most ${formatDuration(mostMs)} (--lease-max); ${formatDuration(ms)} was asked for`,
      { details: { maximumMs: mostMs } },
    )
  return ms
}

function readText(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  try {
    return parseDuration(text)
  } catch {
    return NaN
  }
}
