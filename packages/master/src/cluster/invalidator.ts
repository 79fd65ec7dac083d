// Has every slave forget what it believes about keys: gets each invalidation its number, tells other masters, and tells our
// own slaves in the order of the numbers. What a master that died did not come to tell, the others find by the store.
import type { LiveClusterDeps } from './cluster-deps.ts'
import { Invalidations } from './invalidations.ts'
import type { Roster } from './roster.ts'
import type { SlaveRecord } from './slave-record.ts'

/** How often the store is asked whether somebody numbered one and did not tell. */
const LOOK_EVERY_MS = 2_000

export type InvalidatorDeps = Pick<LiveClusterDeps, 'store' | 'feed' | 'lastInvalidation' | 'log'>

export interface Invalidation {
  number: number
  /** The id of the store that numbered it. */
  store: string
  /** Null: all keys. */
  fingerprints: string[] | null
}

export class Invalidator {
  readonly #deps: InvalidatorDeps
  readonly #roster: Roster
  readonly #turns: Invalidations
  /** The store whose numbers they are. */
  #numberedBy: string
  #numbering: Promise<unknown> = Promise.resolve()
  #looking: NodeJS.Timeout | undefined
  /** What the last look found ahead of us, and in which store; still there at the next one, nobody is going to tell. */
  #found: { store: string; number: number } | undefined

  constructor(deps: InvalidatorDeps, roster: Roster) {
    this.#deps = deps
    this.#roster = roster
    this.#numberedBy = deps.store.id
    this.#turns = new Invalidations(deps.lastInvalidation, (number, fingerprints) =>
      this.#tell({ number, store: this.#numberedBy, fingerprints }),
    )
  }

  /** Looks for what was not told from now on: where there may be other masters. */
  watch(): void {
    this.#looking ??= setInterval(() => void this.#look(), LOOK_EVERY_MS)
    this.#looking.unref()
  }

  /** Undefined: the store cannot be believed now, and nothing is said about what was removed. */
  get last(): { store: string; number: number } | undefined {
    const { id, state } = this.#deps.store
    if (state === 'changed' || id !== this.#numberedBy) return undefined
    return { store: id, number: this.#turns.last }
  }

  /** Null: all keys. Resolves with the number of tunnels that were cut on slaves of ours, when each has answered or is late. */
  async invalidate(fingerprints: string[] | null, given?: number): Promise<number> {
    const numbered = this.#numbering.then(async () => {
      const number = given ?? (await this.#deps.store.nextInvalidation())
      const invalidation = { number, store: this.#deps.store.id, fingerprints }
      this.#deps.feed.publish({ type: 'invalidate', ...invalidation })
      return invalidation
    })
    this.#numbering = numbered.catch(() => undefined)
    return this.take(await numbered)
  }

  /** It has its number, from us or from another master. */
  take({ number, store, fingerprints }: Invalidation): Promise<number> {
    if (store !== this.#numberedBy) {
      // Another store counts by itself, and may be behind the one before.
      this.#numberedBy = store
      this.#turns.restart(number - 1)
    }
    return this.#turns.take(number, fingerprints)
  }

  /** Those that were numbered while we did not listen. */
  async catchUp(): Promise<void> {
    const found = await this.#ahead()
    if (found?.store === this.#numberedBy) await this.take({ ...found, fingerprints: null })
  }

  close(): void {
    clearInterval(this.#looking)
    this.#turns.close()
  }

  async #look(): Promise<void> {
    const before = this.#found
    const found = (this.#found = await this.#ahead())
    if (!found || before?.store !== found.store) return
    if (found.store !== this.#numberedBy) {
      // It was accepted, and is no removal: its numbers count from here on.
      this.#numberedBy = found.store
      this.#turns.restart(found.number)
    } else if (before.number > this.#turns.last) {
      this.#deps.log.warn(
        { number: found.number, known: this.#turns.last },
        'an invalidation was numbered and never told',
      )
      await this.take({ ...found, fingerprints: null })
    }
  }

  /** Where the store is, if that is not where we are. Undefined also where it cannot say. */
  async #ahead(): Promise<{ store: string; number: number } | undefined> {
    try {
      const number = await this.#deps.store.lastInvalidation()
      const store = this.#deps.store.id
      return store !== this.#numberedBy || number > this.#turns.last ? { store, number } : undefined
    } catch (error) {
      this.#deps.log.debug({ err: error }, 'the last invalidation cannot be read now')
      return undefined
    }
  }

  async #tell(invalidation: Invalidation): Promise<number> {
    const cuts = await Promise.all(this.#roster.linked().map((slave) => this.#tellSlave(slave, invalidation)))
    return cuts.reduce((sum, cut) => sum + cut, 0)
  }

  async #tellSlave(slave: SlaveRecord, invalidation: Invalidation): Promise<number> {
    try {
      return (await slave.wire?.request('invalidate', invalidation))?.cut ?? 0
    } catch (error) {
      this.#deps.log.warn({ slave: slave.id, err: error }, 'a slave did not confirm an invalidation')
      return 0
    }
  }
}
