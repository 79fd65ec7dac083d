// What may a user reach? Hand-made grants and pools are read one by one; only a pool with a selector makes it go through the
// targets of the project, in stretches and for all who ask at once (census.ts), so that they do not stop the master.
import type { ReachAnswer, ReachQuestion } from '@sshoal/shared'

import { Censuses, type Counted } from './census.ts'
import { DeviceTargets } from './device-targets.ts'
import type { Directory } from './directory.ts'
import { GATE, type Gate } from './gate.ts'
import { bestGrant, covers, isLive, type Grant } from './grant.ts'
import { isOn, isServed } from './may-visit.ts'
import type { Pool } from './pool.ts'
import type { Projects } from './projects.ts'
import { fits } from './selector.ts'
import type { Presence, TargetTraits } from './target-traits.ts'
import { targetRef, type Target } from './target.ts'
import { userRef, type User } from './user.ts'

export interface Reachable {
  target: Target
  /** All that cover it; the first is the one whose account counts. */
  grants: Grant[]
}

export interface Reached {
  /** By name. */
  all: Reachable[]
  /** False: the time was over before everything had been looked at. */
  complete: boolean
}

export interface ReachDeps {
  directory: Directory
  projects: Projects
  traits: TargetTraits
  now(): number
}

/** The wire's. */
const MAX_SHOWN = 1_000
const PAGE = 500
const SSH_PORT = 22
/** Somebody waits for the answer, and a link for its turn. */
const MAX_MS = 3_000

export class Reach {
  readonly #deps: ReachDeps
  readonly #censuses: Censuses

  constructor(deps: ReachDeps) {
    this.#deps = deps
    this.#censuses = new Censuses(deps.directory, deps.traits)
  }

  /** As the user sees it by a slave of this region. */
  async of({ project, user, limit }: ReachQuestion, region: string | undefined): Promise<ReachAnswer> {
    const { directory, traits, projects } = this.#deps
    if (await projects.isClosed(project)) return { targets: [], total: 0 }
    const gates = (await directory.all<Gate>(GATE, project)).map(({ value }) => value)
    const { all, complete } = await this.all(project, user, MAX_MS)
    const served = all.filter(({ target }) => isServed(target, gatesOf(target, gates), region))
    // Who is online is in memory; when the others were seen is in the store, and asked only for those that are shown.
    const ordered = served
      .map((one) => ({
        ...one,
        online: one.target.kind === 'host' || traits.tunnelOf(one.target) !== undefined,
      }))
      .sort((a, b) => Number(b.online) - Number(a.online) || (a.target.name < b.target.name ? -1 : 1))
    const shown = ordered.slice(0, Math.min(limit, MAX_SHOWN))
    const targets = await Promise.all(
      shown.map(async ({ target, grants: [grant], online }) =>
        shownTarget(target, grant, online ? { online, seenAt: undefined } : await traits.presence(target)),
      ),
    )
    return { targets, total: served.length, ...(complete ? {} : { incomplete: true }) }
  }

  /** What takes longer than `maxMs` is cut off. */
  async all(project: string, userId: string, maxMs = Infinity): Promise<Reached> {
    const { directory, now } = this.#deps
    const [user, records] = await Promise.all([
      directory.store.get<User>(userRef(project, userId)),
      directory.grantsOf(project, userId),
    ])
    if (!user) return { all: [], complete: true }
    const grants = records.map(({ value }) => value).filter((grant) => isLive(grant, now()))
    const found = new Map<string, Target>()
    const pools: Pool[] = []
    for (const id of new Set(grants.map(({ on }) => on.id))) {
      const on = grants.find((grant) => grant.on.id === id)?.on
      if (on?.kind === 'target') {
        const target = await directory.store.get<Target>(targetRef(project, on.name))
        if (target?.value.id === id) found.set(target.value.name, target.value)
        continue
      }
      const pool = await directory.poolOfId(project, id)
      if (!pool) continue
      pools.push(pool)
      await this.#addMembers(pool, found)
    }
    const selecting = pools.filter(({ selector }) => selector !== undefined)
    const selected = new Map<string, Set<string>>()
    const complete =
      selecting.length === 0 || (await this.#select(project, selecting, found, selected, maxMs))
    const all = [...found.values()]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((target) => {
        const ids = new Set([...target.pools, ...(selected.get(target.name) ?? [])])
        return { target, grants: best(grants.filter((grant) => isOn(grant, target.id, ids))) }
      })
      .filter(({ grants }) => grants.length > 0)
    return { all, complete }
  }

  async #addMembers(pool: Pool, found: Map<string, Target>): Promise<void> {
    const { directory } = this.#deps
    let cursor: string | undefined
    do {
      const page = await directory.members(pool, cursor, PAGE)
      const targets = await Promise.all(
        page.records.map((name) => directory.store.get<Target>(targetRef(pool.project, name))),
      )
      for (const target of targets)
        if (target?.value.pools.includes(pool.id)) found.set(target.value.name, target.value)
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
  }

  async #select(
    project: string,
    pools: readonly Pool[],
    found: Map<string, Target>,
    selected: Map<string, Set<string>>,
    maxMs: number,
  ): Promise<boolean> {
    const selectors = pools.flatMap(({ selector }) => selector ?? [])
    const { all, complete } = await this.#censuses.of(project, selectors, maxMs)
    // Whoever is there is asked for most, and must not be missing because of those who are not.
    const online = complete ? [] : await this.#online(project)
    for (const { target, is } of [...all, ...online]) {
      const ids = pools.filter(({ selector }) => selector && fits(selector, is)).map(({ id }) => id)
      if (ids.length === 0) continue
      found.set(target.name, target)
      selected.set(target.name, new Set(ids))
    }
    return complete
  }

  async #online(project: string): Promise<Counted[]> {
    const { directory, traits } = this.#deps
    const devices = new DeviceTargets(directory.store)
    const found = await Promise.all(
      traits.online(project, MAX_SHOWN).map(async (device) => {
        const target = (await devices.of(project, device))?.target
        return target ? [{ target, is: await traits.of(target) }] : []
      }),
    )
    return found.flat()
  }
}

/** Those of a list to which a target is attached. */
export function gatesOf(target: Target, gates: readonly Gate[]): Gate[] {
  return gates.filter(({ name }) => target.gates.includes(name))
}

/**
 * The one whose account counts: of those that let through what is asked for, by which `ssh TARGET` means the SSH port, one for
 * the target itself, then one with an account.
 */
export function whoseAccount(grants: readonly Grant[], forward?: string): Grant | undefined {
  const covering = grants.filter((grant) => covers(grant, { port: SSH_PORT, forward }))
  const among = covering.length > 0 ? covering : grants
  const withAccount = among.filter(({ account }) => account !== undefined)
  const direct = withAccount.filter(({ on }) => on.kind === 'target')
  return bestGrant(direct.length > 0 ? direct : withAccount.length > 0 ? withAccount : among)
}

function best(grants: Grant[]): Grant[] {
  const first = whoseAccount(grants)
  return first ? [first, ...grants.filter((grant) => grant !== first)] : []
}

function shownTarget(target: Target, grant: Grant | undefined, { online, seenAt }: Presence) {
  return {
    name: target.name,
    ...(grant?.account === undefined ? {} : { account: grant.account }),
    online,
    ...(seenAt === undefined ? {} : { seenAt }),
  }
}
