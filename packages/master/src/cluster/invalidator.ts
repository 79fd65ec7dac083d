// Has every slave forget what it believes about keys: numbers the invalidation in the store, tells other masters, and tells
// our own slaves in the order of the numbers.
import type { LiveClusterDeps } from './cluster-deps.ts'
import { Invalidations } from './invalidations.ts'
import type { Roster } from './roster.ts'
import type { SlaveRecord } from './slave-record.ts'

export type InvalidatorDeps = Pick<LiveClusterDeps, 'store' | 'feed' | 'lastInvalidation' | 'log'>

export class Invalidator {
  readonly #deps: InvalidatorDeps
  readonly #roster: Roster
  readonly #turns: Invalidations
  /** The store whose numbers they are. */
  #numberedBy: string
  #numbering: Promise<unknown> = Promise.resolve()

  constructor(deps: InvalidatorDeps, roster: Roster) {
    this.#deps = deps
    this.#roster = roster
    this.#numberedBy = deps.store.id
    this.#turns = new Invalidations(deps.lastInvalidation, (number, fingerprints) =>
      this.#tell(number, fingerprints),
    )
  }

  /** Undefined: the store cannot be believed now, and nothing is said about what was removed. */
  get last(): { store: string; number: number } | undefined {
    const { id, state } = this.#deps.store
    return state === 'changed' ? undefined : { store: id, number: this.#turns.last }
  }

  /** Null: all keys. Resolves with the number of tunnels that were cut on slaves of ours, when each has answered or is late. */
  async invalidate(fingerprints: string[] | null): Promise<number> {
    const numbered = this.#numbering.then(async () => {
      const number = await this.#deps.store.nextInvalidation()
      this.#deps.feed.publish({ type: 'invalidate', number, fingerprints })
      return number
    })
    this.#numbering = numbered.catch(() => undefined)
    return this.take(await numbered, fingerprints)
  }

  /** It has its number, from us or from another master. */
  take(number: number, fingerprints: string[] | null): Promise<number> {
    // Another store counts by itself, and may be behind the one before.
    const { id } = this.#deps.store
    if (id !== this.#numberedBy) this.#turns.restart(number - 1)
    this.#numberedBy = id
    return this.#turns.take(number, fingerprints)
  }

  /** Those that were numbered while we did not listen. */
  async catchUp(): Promise<void> {
    try {
      const number = await this.#deps.store.lastInvalidation()
      if (number > this.#turns.last) await this.take(number, null)
    } catch (error) {
      this.#deps.log.debug({ err: error }, 'the last invalidation cannot be read now')
    }
  }

  close(): void {
    this.#turns.close()
  }

  async #tell(number: number, fingerprints: string[] | null): Promise<number> {
    const cuts = await Promise.all(
      this.#roster.linked().map((slave) => this.#tellSlave(slave, number, fingerprints)),
    )
    return cuts.reduce((sum, cut) => sum + cut, 0)
  }

  async #tellSlave(slave: SlaveRecord, number: number, fingerprints: string[] | null): Promise<number> {
    try {
      return (await slave.wire?.request('invalidate', { number, fingerprints }))?.cut ?? 0
    } catch (error) {
      this.#deps.log.warn({ slave: slave.id, err: error }, 'a slave did not confirm an invalidation')
      return 0
    }
  }
}
