// How many connections may be on their way to a login: in total and per source, `start:rate:full` as sshd's MaxStartups:
// from `start` on, `rate` per cent are dropped at random, rising to all at `full`.
import { Passing, SshoalError } from '@sshoal/shared'

export interface Startups {
  start: number
  /** Per cent dropped at `start`. */
  rate: number
  full: number
}

/** `100:30:1000`, or one number for all. Throws INVALID_VALUE. */
export function parseStartups(text: string): Startups {
  const match = /^(\d{1,7})(?::(\d{1,3}):(\d{1,7}))?$/.exec(text)
  const start = Number(match?.[1])
  const limits = { start, rate: Number(match?.[2] ?? 100), full: Number(match?.[3] ?? start) }
  if (!match || limits.start < 1 || limits.rate < 1 || limits.rate > 100 || limits.full < limits.start)
    throw new SshoalError(
      'INVALID_VALUE',
      `"${text}" is not START:RATE:FULL, such as 100:30:1000 (rate in per cent)`,
    )
  return limits
}

/** The share of newcomers to drop while `count` are waiting, 0 to 1 (sshd: should_drop_connection). */
export function dropShare(count: number, { start, rate, full }: Startups): number {
  if (count < start) return 0
  if (count >= full) return 1
  return (rate + ((100 - rate) * (count - start)) / (full - start)) / 100
}

/** Counts who is on the way to a login. */
export class Waiting {
  readonly #perSource = new Passing<string, number>()
  readonly #total: Startups
  readonly #eachSource: Startups
  readonly #random: () => number
  #count = 0

  constructor(total: Startups, eachSource: Startups, random: () => number = Math.random) {
    this.#total = total
    this.#eachSource = eachSource
    this.#random = random
  }

  get count(): number {
    return this.#count
  }

  /** Undefined: come in, and `leave` when the login is over. Else the limit that was hit. */
  enter(source: string): 'startups' | 'source-startups' | undefined {
    const own = this.#perSource.get(source) ?? 0
    // The source's own limit first: what it costs must be its own before it is everybody's.
    if (this.#random() < dropShare(own, this.#eachSource)) return 'source-startups'
    if (this.#random() < dropShare(this.#count, this.#total)) return 'startups'
    this.#perSource.set(source, own + 1)
    this.#count++
    return undefined
  }

  leave(source: string): void {
    const own = this.#perSource.get(source) ?? 0
    if (own <= 1) this.#perSource.delete(source)
    else this.#perSource.set(source, own - 1)
    this.#count--
  }
}
