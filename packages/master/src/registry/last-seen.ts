// When, where and why each device was last seen. Written once a second, so that ten thousand reconnects cost one commit.
// What is still waiting is read from memory; what a crash loses is at most that second.
import { errorText, type Log } from '@sshoal/shared'

import { DeviceTargets } from '../access/device-targets.ts'
import { Flushing } from '../flushing.ts'
import type { RecordRef, Store } from '../store/store.ts'

export interface Sighting {
  /** ms since 1970. */
  at: number
  /** The address it came from, and the slave. */
  where: string
  /** What happened, in words. */
  why: string
  /** Where the slave was, and what the hook said of the device: so that it is known when the device is away. */
  region?: string
  details?: Record<string, unknown>
}

interface Pending {
  project: string
  id: string
  sighting?: Sighting
  /** The hook let it in: remember it as a device if the store has none of that id. */
  remember: boolean
}

const FLUSH_EVERY_MS = 1_000
/** Or as soon as so many wait: what waits for a second is moved among the old by the collector, and stays there as garbage. */
const FLUSH_AT = 500
/** Other devices may want the same name of a target. */
const ATTEMPTS = 20
/** So many at once; then others get their turn: after a restart of the master a million wait. */
const AT_ONCE = 250

export class LastSeen {
  readonly #store: Store
  readonly #targets: DeviceTargets
  readonly #log: Log
  readonly #flushing = new Flushing(FLUSH_EVERY_MS, () => this.#write())
  #pending = new Map<string, Pending>()
  #writing: Map<string, Pending> | undefined

  constructor(store: Store, log: Log) {
    this.#store = store
    this.#targets = new DeviceTargets(store)
    this.#log = log
  }

  note(project: string, id: string, sighting: Sighting): void {
    const entry = this.#entry(project, id)
    const { region, details } = entry.sighting ?? {}
    const before = {
      ...(region === undefined ? {} : { region }),
      ...(details === undefined ? {} : { details }),
    }
    entry.sighting = sighting.details ? sighting : { ...before, ...sighting }
  }

  remember(project: string, id: string): void {
    this.#entry(project, id).remember = true
  }

  async get(project: string, id: string): Promise<Sighting | undefined> {
    const key = `${project}\0${id}`
    const waiting = this.#pending.get(key)?.sighting ?? this.#writing?.get(key)?.sighting
    return waiting ?? (await this.#store.get<Sighting>({ kind: 'seen', project, id }))?.value
  }

  /** Resolves when everything noted before is written, or when the store refused it; then it is tried again later. */
  flush(): Promise<void> {
    return this.#flushing.flush()
  }

  close(): Promise<void> {
    return this.#flushing.close()
  }

  #entry(project: string, id: string): Pending {
    const key = `${project}\0${id}`
    let entry = this.#pending.get(key)
    if (!entry) {
      entry = { project, id, remember: false }
      this.#pending.set(key, entry)
      if (this.#pending.size === FLUSH_AT) void this.#flushing.flush()
    }
    return entry
  }

  async #write(): Promise<void> {
    if (this.#pending.size === 0) return
    const batch = this.#pending
    this.#writing = batch
    this.#pending = new Map()
    try {
      const entries = batch.values()
      for (let some = take(entries); some.length > 0; some = take(entries)) {
        await Promise.all(some.map((entry) => this.#writeOne(entry)))
        await new Promise((resolve) => setImmediate(resolve))
      }
    } catch (error) {
      this.#log.error({ err: errorText(error), devices: batch.size }, 'last seen could not be written')
      for (const [key, entry] of batch) {
        const newer = this.#pending.get(key)
        this.#pending.set(
          key,
          newer ? { ...entry, ...newer, remember: entry.remember || newer.remember } : entry,
        )
      }
    } finally {
      this.#writing = undefined
    }
  }

  async #writeOne({ project, id, sighting, remember }: Pending): Promise<void> {
    const device = { kind: 'device', project, id }
    if (remember) {
      const createdAt = sighting?.at ?? Date.now()
      await this.#rememberOne(project, id, { id, project, source: 'hook', keys: [], createdAt })
    }
    // A device that was deleted meanwhile leaves no trace behind.
    if (!sighting || !(await this.#store.get(device))) return
    const ref = { kind: 'seen', project, id }
    const value = sighting.details ? sighting : { ...(await this.#traitsBefore(ref)), ...sighting }
    await this.#store.transact([{ type: 'put', ref, value }])
  }

  /** Who was only refused, or came by a lease, is what it was. */
  async #traitsBefore(ref: RecordRef): Promise<Pick<Sighting, 'region' | 'details'>> {
    const { region, details } = (await this.#store.get<Sighting>(ref))?.value ?? {}
    return { ...(region === undefined ? {} : { region }), ...(details === undefined ? {} : { details }) }
  }

  /** One that is known stays as it is. */
  async #rememberOne(
    project: string,
    id: string,
    value: { createdAt: number; [field: string]: unknown },
  ): Promise<void> {
    const ref = { kind: 'device', project, id }
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (await this.#store.get(ref)) return
      const target = await this.#targets.joining(project, id, value.createdAt)
      const outcome = await this.#store.transact([{ type: 'put', ref, value, expect: 'absent' }, ...target])
      if (outcome.done) return
    }
  }
}

function take(entries: Iterator<Pending>): Pending[] {
  const some: Pending[] = []
  while (some.length < AT_ONCE) {
    const { value, done } = entries.next()
    if (done) break
    some.push(value)
  }
  return some
}
