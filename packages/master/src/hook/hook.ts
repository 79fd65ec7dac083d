// The seam that decides which device a key is: `validate_device(publicKey, context)`. Types only, and the answer's shape.
import type { HookRefusal } from './hook-refusal.ts'

export interface HookContext {
  /** `ssh-ed25519`, … */
  readonly algorithm: string
  /** `SHA256:…` */
  readonly fingerprint: string
  /** The login name that the device offered; a client may say anything. */
  readonly username: string
  /** An answer that looked at it holds for this address alone. */
  readonly remoteAddress: string
  /** The id of the slave that asks. */
  readonly slave: string
  /** Fires at the deadline; hand it to `fetch` and the like. */
  readonly signal: AbortSignal
}

/** Known fields are honoured; everything else (at most 4 KB as JSON) travels with the tunnel as its details. */
export interface HookAnswer {
  /** The device's stable id. Missing or empty: the key is refused. */
  client_key?: string | null
  /** Default `default`. */
  project?: string
  /** `ports[i]` is the i-th bound forward's. */
  ports?: number[]
  /** How many `-R` the device may have. */
  maxForwards?: number
  /** Only slaves of this region, or of its fallbacks, let the device in. */
  region?: string
  /** A duration such as `15s`, or ms; 0: none. */
  keepalive?: string | number
  /** When the answer ends: RFC 3339, ms since 1970, or a Date. In the past: refused. */
  expiresAt?: string | number | Date
  /** How long slaves may answer by themselves; default `--cache-ttl`, or 0 where address or slave were looked at. */
  cacheSeconds?: number
  [detail: string]: unknown
}

/** Nothing is a refusal; a throw is an outage. */
export type HookResult = HookAnswer | HookRefusal | null | undefined | void

/** `publicKey` is the base64 of the SSH wire form. */
export type ValidateDevice = (publicKey: string, context: HookContext) => HookResult | Promise<HookResult>

/** A hook that runs: what it answers, what to call it in the log, and how it is renewed and ended. */
export interface Hook {
  name: string
  validate_device: ValidateDevice
  /** SIGHUP. Never rejects: a hook that cannot be renewed stays as it was and says so in the log. */
  reload(): Promise<void>
  close(): Promise<void>
}
