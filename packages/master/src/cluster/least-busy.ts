// The choice of select-slave.ts for thousands of slots a second: what it compares stands in rows of plain numbers, which are
// written when something changes of a slave, so that a choice among hundreds follows no pointers.
import {
  mayBeChosen,
  regionsToTry,
  shareOf,
  type Candidate,
  type RegionFallback,
  type Wish,
} from './select-slave.ts'

export class LeastBusy<C extends Candidate> {
  readonly #fallback: RegionFallback
  #all: readonly C[] = []
  readonly #rows = new Map<C, number>()
  /** Infinity: gets no devices. */
  #shares = new Float64Array(0)
  #reserved = new Float64Array(0)

  constructor(fallback: RegionFallback) {
    this.#fallback = fallback
  }

  /** Ordered by id. */
  get all(): readonly C[] {
    return this.#all
  }

  /** These and no others from now on. */
  set(slaves: Iterable<C>): void {
    this.#all = [...slaves].sort((a, b) => (a.id < b.id ? -1 : 1))
    this.#rows.clear()
    this.#shares = new Float64Array(this.#all.length)
    this.#reserved = new Float64Array(this.#all.length)
    for (const [row, slave] of this.#all.entries()) {
      this.#rows.set(slave, row)
      this.#write(slave, row)
    }
  }

  /** Call after every change of what a choice looks at. */
  changed(slave: C): void {
    const row = this.#rows.get(slave)
    if (row !== undefined) this.#write(slave, row)
  }

  #write(slave: C, row: number): void {
    this.#shares[row] = mayBeChosen(slave) ? shareOf(slave) : Infinity
    this.#reserved[row] = slave.reserved
  }

  /** As `selectSlave` of all of them. */
  choose(wish: Wish): C | undefined {
    for (const region of regionsToTry(wish, this.#fallback)) {
      const best = this.#best(region, wish.port)
      if (best) return best
    }
    return undefined
  }

  #best(region: string | undefined, port: number | undefined): C | undefined {
    const any = region === undefined && port === undefined
    const shares = this.#shares
    const reserved = this.#reserved
    let best = -1
    let bestShare = Infinity
    let bestReserved = 0
    for (let row = 0; row < shares.length; row++) {
      const share = shares[row] ?? Infinity
      if (share > bestShare || share === Infinity) continue
      // Of equals the first by id, which is the one that stands already.
      if (share === bestShare && (reserved[row] ?? 0) >= bestReserved) continue
      if (!any && !this.#fits(row, region, port)) continue
      best = row
      bestShare = share
      bestReserved = reserved[row] ?? 0
    }
    return this.#all[best]
  }

  /** The `count` that come first, where a wish has so many; ordered by id. */
  first(wish: Wish, count: number): C[] {
    for (const region of regionsToTry(wish, this.#fallback)) {
      const rows: number[] = []
      for (let row = 0; row < this.#shares.length; row++)
        if (this.#shares[row] !== Infinity && this.#fits(row, region, wish.port)) rows.push(row)
      if (rows.length === 0) continue
      const least = rows.length <= count ? rows : this.#least(rows, count)
      return least.flatMap((row) => this.#all[row] ?? [])
    }
    return []
  }

  #least(rows: number[], count: number): number[] {
    const shares = this.#shares
    const reserved = this.#reserved
    rows.sort(
      (a, b) => (shares[a] ?? 0) - (shares[b] ?? 0) || (reserved[a] ?? 0) - (reserved[b] ?? 0) || a - b,
    )
    rows.length = count
    return rows.sort((a, b) => a - b)
  }

  #fits(row: number, region: string | undefined, port: number | undefined): boolean {
    const slave = this.#all[row]
    return slave !== undefined && mayBeChosen(slave, region, port)
  }
}
