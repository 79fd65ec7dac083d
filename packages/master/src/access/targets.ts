// What can be reached: hosts are made and removed here, devices come and go with themselves. Any of them can be pinned.
import { SshoalError } from '@sshoal/shared'

import { formatCursor, type Change, type Conflict } from '../store/store.ts'
import type { Directory, Page } from './directory.ts'
import { attachmentRef, gateRef, type Gate } from './gate.ts'
import { removeGrant, type Grant, GRANT } from './grant.ts'
import type { Actor, Entry, Ledger } from './ledger.ts'
import { MEMBER, POOL, type Pool } from './pool.ts'
import type { Revocation } from './revocation.ts'
import type { TargetTraits } from './target-traits.ts'
import {
  changeTarget,
  makeHost,
  putTarget,
  TARGET,
  targetRef,
  type NewHost,
  type Target,
  type TargetSettings,
} from './target.ts'

export interface TargetFilter {
  q?: string | undefined
  pool?: string | undefined
  gate?: string | undefined
  kind?: 'device' | 'host' | undefined
  cursor?: string | undefined
  limit: number
}

export interface TargetsDeps {
  ledger: Ledger
  directory: Directory
  revocation: Revocation
  traits: TargetTraits
}

/** A page looks at so many at most, and may be short; its `next` goes on. */
const LOOKED_AT = 20_000
const SCAN_PAGE = 500

export class Targets {
  readonly #deps: TargetsDeps

  constructor(deps: TargetsDeps) {
    this.#deps = deps
  }

  /** Throws INVALID_*, TARGET_TAKEN, TOO_MANY_KEYS. */
  createHost(project: string, wanted: NewHost, by: Actor): Promise<Target> {
    const { ledger } = this.#deps
    return ledger.change(async () => {
      const target = makeHost(project, wanted, ledger.now())
      return {
        changes: [putTarget(target, 'absent')],
        entries: [entryOf('target.created', target, by, { after: shownTarget(target) })],
        result: target,
        refuse: taken,
      }
    })
  }

  /** By name or UUID. Throws UNKNOWN_TARGET. */
  async get(project: string, text: string): Promise<Target> {
    return (await this.#deps.directory.target(project, text)).value
  }

  /** In the order of their names. Throws UNKNOWN_POOL, UNKNOWN_GATE, INVALID_CURSOR. */
  async list(project: string, filter: TargetFilter): Promise<Page<Target>> {
    const { directory } = this.#deps
    const pool = filter.pool === undefined ? undefined : (await directory.pool(project, filter.pool)).value
    const gate = filter.gate === undefined ? undefined : (await directory.gate(project, filter.gate)).value
    if (pool && !pool.selector) return this.#members(pool, gate, filter)
    const found: Target[] = []
    let after = filter.cursor
    for (let looked = 0; looked < LOOKED_AT; looked += SCAN_PAGE) {
      const limit = SCAN_PAGE
      const page = await directory.store.scan<Target>({
        kind: TARGET,
        project,
        limit,
        ...(after === undefined ? {} : { after }),
      })
      for (const record of page.records) {
        if (!(await this.#fits(record.value, filter, gate, pool))) continue
        found.push(record.value)
        if (found.length < filter.limit) continue
        const isLast = page.next === null && record === page.records.at(-1)
        return { records: found, next: isLast ? null : formatCursor(record) }
      }
      if (page.next === null) return { records: found, next: null }
      after = page.next
      await new Promise((resolve) => setImmediate(resolve))
    }
    return { records: found, next: after ?? null }
  }

  /** Throws UNKNOWN_TARGET, INVALID_*, TOO_MANY_KEYS, DEVICE_TARGET. */
  async change(project: string, text: string, settings: TargetSettings, by: Actor): Promise<Target> {
    const { ledger, directory, revocation } = this.#deps
    const { result: after, number } = await ledger.revoke(async () => {
      const { value: before, version } = await directory.target(project, text)
      const after = changeTarget(before, settings)
      const told = { before: shownTarget(before), after: shownTarget(after) }
      return {
        changes: [putTarget(after, version)],
        entries: [entryOf('target.changed', after, by, told)],
        harmless: placeOf(before) === placeOf(after),
        result: after,
      }
    })
    // Who was let to the old address is not at the new one; another region may belong to other pools.
    if (number !== undefined) await revocation.on(project, await this.coverers(after), number)
    return after
  }

  /** With its grants and memberships. Resolves with the number of what was cut. Throws UNKNOWN_TARGET, DEVICE_TARGET. */
  async remove(project: string, text: string, by: Actor): Promise<number> {
    const { ledger, directory, revocation } = this.#deps
    const { result: target, number } = await ledger.revoke(async () => {
      const { value: target, version } = await directory.target(project, text)
      if (target.kind === 'device')
        throw new SshoalError(
          'DEVICE_TARGET',
          `${target.name} is the device ${target.device}: remove the device`,
        )
      return {
        changes: [
          { type: 'remove', ref: targetRef(project, target.name), expect: version },
          ...(await this.#unlinked(target)),
        ],
        entries: [entryOf('target.removed', target, by, { before: shownTarget(target) })],
        result: target,
      }
    })
    const cut = await revocation.on(project, await this.coverers(target), number)
    await this.#dropGrants(target)
    return cut
  }

  /** The target of a device that was removed, gone already: what pointed at it goes too. */
  async forget(target: Target): Promise<void> {
    const changes = await this.#unlinked(target)
    if (changes.length > 0) await this.#deps.ledger.store.transact(changes)
    await this.#dropGrants(target)
  }

  /** Itself and the pools that have it: who has a grant on one of these may reach it. */
  async coverers(target: Target): Promise<string[]> {
    return [target.id, ...target.pools, ...(await this.selectors(target))]
  }

  /** Pools that may have it, or may have had it, by what it is. */
  async selectors({ project }: Target): Promise<string[]> {
    const pools = await this.#deps.directory.all<Pool>(POOL, project)
    return pools.filter(({ value }) => value.selector !== undefined).map(({ value }) => value.id)
  }

  /** Its memberships and attachments. */
  async #unlinked(target: Target): Promise<Change[]> {
    const { project, name } = target
    const gates = await Promise.all(
      target.gates.map((gate) => this.#deps.directory.store.get<Gate>(gateRef(project, gate))),
    )
    return [
      ...target.pools.map((pool): Change => ({
        type: 'remove',
        ref: { kind: MEMBER, project, id: `${pool}.${name}` },
      })),
      ...gates.flatMap((gate): Change[] =>
        gate ? [{ type: 'remove', ref: attachmentRef(gate.value, name) }] : [],
      ),
    ]
  }

  async #dropGrants(target: Target): Promise<void> {
    const { directory, ledger } = this.#deps
    for (const { user, grant } of await directory.grantsOn(target.project, target.id)) {
      const ref = { kind: GRANT, project: target.project, id: `${user}.${grant}` }
      const found = await ledger.store.get<Grant>(ref)
      if (found) await ledger.store.transact(removeGrant(found.value))
    }
  }

  async #members(pool: Pool, gate: Gate | undefined, filter: TargetFilter): Promise<Page<Target>> {
    const { directory } = this.#deps
    const { records: names, next } = await directory.members(pool, filter.cursor, filter.limit)
    const found = await Promise.all(
      names.map((name) => directory.store.get<Target>(targetRef(pool.project, name))),
    )
    const records: Target[] = []
    for (const record of found)
      if (record && (await this.#fits(record.value, filter, gate, pool))) records.push(record.value)
    return { records, next }
  }

  async #fits(
    target: Target,
    { q, kind }: TargetFilter,
    gate: Gate | undefined,
    pool: Pool | undefined,
  ): Promise<boolean> {
    if (kind !== undefined && target.kind !== kind) return false
    if (gate && !target.gates.includes(gate.name)) return false
    if (q !== undefined && !textOf(target).includes(q.toLowerCase())) return false
    return pool === undefined || this.#deps.traits.has(pool, target)
  }
}

function entryOf(type: string, { project, name }: Target, by: Actor, more: Partial<Entry>): Entry {
  return { project, type, by, target: name, ...more }
}

export function shownTarget(target: Target): object {
  const { kind, hostKeys, gates } = target
  return {
    kind,
    ...(target.kind === 'host'
      ? { address: target.address, port: target.port, region: target.region }
      : { device: target.device }),
    hostKeys,
    gates,
  }
}

function placeOf(target: Target): string {
  return target.kind === 'host' ? JSON.stringify([target.address, target.port, target.region]) : ''
}

function textOf(target: Target): string {
  const more = target.kind === 'host' ? [target.address, target.region ?? ''] : [target.device]
  return [target.name, target.uuid, ...more].join('\n').toLowerCase()
}

function taken(conflict: Conflict): SshoalError | undefined {
  return conflict.reason === 'exists'
    ? new SshoalError('TARGET_TAKEN', `there is a target "${conflict.ref.id}" already`)
    : undefined
}
