// How records, claims and their order are spelled in Redis. Pure text; the scripts and the store share it.
//
// All keys carry one hash tag, `{sshoal}` (`--redis-prefix`), so that a Redis Cluster keeps the store in one slot: a claim
// may be made everywhere and a transaction may touch several projects, so a tag per project could not be atomic. The
// store is small (see docs/backup.md); what grows with tunnels is not in it.
//
//   {sshoal}:meta            hash    id, schema, version, invalidation, `replaces:<id>` of stores that this one follows
//   {sshoal}:kinds           set     the kinds of records there are
//   {sshoal}:records:<kind>  hash    project NUL id → version NUL (index NUL value NUL scope NUL)* JSON
//   {sshoal}:order:<kind>    zset    project NUL id, all with score 0: byte order
//   {sshoal}:claims:<kind>   zset    index NUL value NUL scope NUL project NUL id, all with score 0
//   {sshoal}:export:… , {sshoal}:import:…   copies while an export or import runs; they end by themselves
import { SshoalError } from '@sshoal/shared'

import { parseCursor, type Claim, type ClaimedRecord, type RecordRef, type Scan } from './store.ts'

export class RedisNames {
  readonly meta: string
  readonly kinds: string
  /** Written so that WAIT has something to wait for. */
  readonly waited: string
  readonly #tag: string

  constructor(prefix: string) {
    this.#tag = `{${prefix}}`
    this.meta = `${this.#tag}:meta`
    this.kinds = `${this.#tag}:kinds`
    this.waited = `${this.#tag}:waited`
  }

  records(kind: string, copy = ''): string {
    return `${this.#tag}:${copy}records:${kind}`
  }

  order(kind: string, copy = ''): string {
    return `${this.#tag}:${copy}order:${kind}`
  }

  claims(kind: string, copy = ''): string {
    return `${this.#tag}:${copy}claims:${kind}`
  }

  /** A script's KEYS for a kind, in the order in which the scripts expect them. */
  all(kind: string, copy = ''): string[] {
    return [this.records(kind, copy), this.order(kind, copy), this.claims(kind, copy)]
  }
}

/** Throws INVALID_VALUE. */
export function checkPrefix(text: string): string {
  if (/^[A-Za-z0-9._:-]{1,64}$/.test(text)) return text
  throw new SshoalError('INVALID_VALUE', `"${text}" is not a prefix: letters, digits and . _ : - only`)
}

/** NUL separates, so inside a part it is written otherwise; the byte order of parts stays what it was. */
export function escapePart(text: string): string {
  // oxlint-disable-next-line no-control-regex -- the two that are escaped
  return /[\0\x01]/.test(text) ? text.replaceAll('\x01', '\x01\x02').replaceAll('\0', '\x01\x01') : text
}

export function unescapePart(text: string): string {
  return text.includes('\x01') ? text.replaceAll('\x01\x01', '\0').replaceAll('\x01\x02', '\x01') : text
}

export function nameOf({ project, id }: Pick<RecordRef, 'project' | 'id'>): string {
  return `${escapePart(project)}\0${escapePart(id)}`
}

export function readName(name: string): { project: string; id: string } {
  const [project = '', id = ''] = name.split('\0')
  return { project: unescapePart(project), id: unescapePart(id) }
}

/** With its NUL at the end: what a claim's member of the zset begins with. */
export function claimName(project: string, claim: Claim): string {
  const scope = claim.everywhere ? '*' : project
  return `${escapePart(claim.index)}\0${escapePart(claim.value)}\0${escapePart(scope)}\0`
}

export interface ClaimMember {
  value: string
  project: string
  id: string
}

export function readClaimMember(member: string): ClaimMember {
  const [, value = '', , project = '', id = ''] = member.split('\0').map(unescapePart)
  return { value, project, id }
}

/** A record's text but for the version, which the script puts before it. JSON has no raw NUL, so the last part is the value. */
export function formatBody(project: string, value: unknown, claims: readonly Claim[]): string {
  return claims.map((claim) => claimName(project, claim)).join('') + (JSON.stringify(value) ?? 'null')
}

export function readBody(ref: RecordRef, body: string): ClaimedRecord {
  const parts = body.split('\0')
  const claims: Claim[] = []
  for (let at = 1; at + 3 < parts.length; at += 3) {
    const [index = '', value = '', scope = ''] = parts.slice(at, at + 3).map(unescapePart)
    claims.push({ index, value, ...(scope === ref.project ? {} : { everywhere: true }) })
  }
  return { ...ref, version: Number(parts[0]), value: JSON.parse(parts.at(-1) ?? 'null') as unknown, claims }
}

/** As ZRANGEBYLEX has them. No text begins with the byte FF, so it stands behind everything with a prefix. */
export function boundsOf({ project, prefix, after }: Scan): [from: string | Buffer, to: string | Buffer] {
  const begin = project === undefined ? undefined : `${escapePart(project)}\0${escapePart(prefix ?? '')}`
  const to = begin === undefined ? '+' : Buffer.concat([Buffer.from(`(${begin}`), Buffer.from([0xff])])
  const place = after === undefined ? undefined : nameOf(parseCursor(after))
  if (
    place !== undefined &&
    (begin === undefined || Buffer.compare(Buffer.from(place), Buffer.from(begin)) >= 0)
  )
    return [`(${place}`, to]
  return [begin === undefined ? '-' : `[${begin}`, to]
}
