// Slots over all masters: those asked for in one tick go to Redis together, where the choice is made atomically.
import { randomBytes } from 'node:crypto'

import { SLOT_MS } from '../reservations.ts'
import type { SlotCandidate } from './cluster-feed.ts'

interface Wish {
  candidates: readonly SlotCandidate[]
  waiting: ((id: string | undefined) => void)[]
}

/** Runs RESERVE with these words; answers the ids that were chosen, rejects when Redis does not answer. */
export type RunReserve = (words: (string | number)[]) => Promise<unknown>

/** Later Redis does nothing: who asked was told to choose by himself. Well below the time limit of a call. */
const DEADLINE_MS = 1_500

export class SlotDesk {
  readonly #run: RunReserve
  readonly #nowMicros: () => number
  #wishes = new Map<string, Wish>()

  /** `nowMicros`: Redis' clock. */
  constructor(run: RunReserve, nowMicros: () => number) {
    this.#run = run
    this.#nowMicros = nowMicros
  }

  /** Never rejects; undefined: choose by what you know. */
  ask(wish: string, candidates: (count: number) => readonly SlotCandidate[]): Promise<string | undefined> {
    if (this.#wishes.size === 0) setImmediate(() => void this.#send())
    let found = this.#wishes.get(wish)
    if (!found) {
      found = { candidates: candidates(Infinity), waiting: [] }
      this.#wishes.set(wish, found)
    }
    const { waiting } = found
    return new Promise((resolve) => waiting.push(resolve))
  }

  async #send(): Promise<void> {
    const wishes = [...this.#wishes.values()]
    this.#wishes = new Map()
    const deadline = Math.round(this.#nowMicros() / 1_000) + DEADLINE_MS
    const words: (string | number)[] = [deadline, SLOT_MS, randomBytes(9).toString('base64')]
    for (const { candidates, waiting } of wishes) {
      words.push(waiting.length, candidates.length)
      for (const { id, tunnels, capacity } of candidates) words.push(id, tunnels, capacity)
    }
    const everybody = wishes.flatMap(({ waiting }) => waiting)
    let chosen: unknown[] = []
    try {
      const answer = await this.#run(words)
      if (Array.isArray(answer)) chosen = answer
    } catch {
      // Nobody waits for Redis: undefined says so.
    }
    everybody.forEach((resolve, index) => {
      const id = chosen[index]
      resolve(typeof id === 'string' ? id : undefined)
    })
  }
}
