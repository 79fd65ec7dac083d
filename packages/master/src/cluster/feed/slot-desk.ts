// Slots over all masters: those asked for in one tick go to Redis together, where the choice is made atomically.
import { randomBytes } from 'node:crypto'

import { SLOT_MS } from '../reservations.ts'
import type { SlotCandidate } from './cluster-feed.ts'

interface Wish {
  candidates: readonly SlotCandidate[]
  waiting: ((id: string | undefined) => void)[]
}

/** Runs RESERVE with these words; rejects when Redis does not answer. */
export type RunReserve = (words: (string | number)[]) => Promise<unknown>

export class SlotDesk {
  readonly #run: RunReserve
  #wishes = new Map<string, Wish>()

  constructor(run: RunReserve) {
    this.#run = run
  }

  /** Never rejects; undefined: choose by what you know. */
  ask(wish: string, candidates: readonly SlotCandidate[]): Promise<string | undefined> {
    if (this.#wishes.size === 0) setImmediate(() => void this.#send())
    let found = this.#wishes.get(wish)
    if (!found) {
      found = { candidates, waiting: [] }
      this.#wishes.set(wish, found)
    }
    const { waiting } = found
    return new Promise((resolve) => waiting.push(resolve))
  }

  async #send(): Promise<void> {
    const wishes = [...this.#wishes.values()]
    this.#wishes = new Map()
    const words: (string | number)[] = [SLOT_MS, randomBytes(9).toString('base64')]
    for (const { candidates, waiting } of wishes) {
      words.push(waiting.length, candidates.length)
      for (const { id, tunnels, capacity } of candidates) words.push(id, tunnels, capacity)
    }
    const everybody = wishes.flatMap(({ waiting }) => waiting)
    let chosen: unknown
    try {
      chosen = await this.#run(words)
    } catch {
      chosen = undefined
    }
    everybody.forEach((resolve, index) => resolve(Array.isArray(chosen) ? String(chosen[index]) : undefined))
  }
}
