// Slots over all masters: those asked for in one tick go to Redis together, where the choice is made atomically. Each master
// names those slaves that it would choose from next, and Redis, which knows the slots of all masters, chooses among them.
import { randomBytes } from 'node:crypto'

import { SLOT_MS } from '../reservations.ts'
import type { SlotCandidate } from './cluster-feed.ts'

type Waiting = ((id: string | undefined) => void)[]

interface Wish {
  name: string
  candidates: (count: number) => readonly SlotCandidate[]
  waiting: Waiting
}

interface Asking {
  candidates: readonly SlotCandidate[]
  waiting: Waiting
}

/** Runs RESERVE with these words; answers the ids that were chosen, rejects when Redis does not answer. */
export type RunReserve = (words: (string | number)[]) => Promise<unknown>

/** Later Redis does nothing: who asked was told to choose by himself. Well below the time limit of a call. */
const DEADLINE_MS = 1_500
/** How many more slaves are named than slots are wanted: as far as other masters may have gone meanwhile. */
const SPARE_CANDIDATES = 32
const AT_ONCE = 500

export class SlotDesk {
  readonly #run: RunReserve
  readonly #nowMicros: () => number
  readonly #wishes: Wish[] = []
  /** One after another: what is asked for while Redis chooses goes together next, and knows what was chosen before. */
  #asking = false

  /** `nowMicros`: Redis' clock. */
  constructor(run: RunReserve, nowMicros: () => number) {
    this.#run = run
    this.#nowMicros = nowMicros
  }

  /** Never rejects; undefined: choose by what you know. */
  ask(wish: string, candidates: Wish['candidates']): Promise<string | undefined> {
    if (!this.#asking) {
      this.#asking = true
      setImmediate(() => void this.#askAll())
    }
    let found = this.#wishes.find(({ name }) => name === wish)
    if (!found) this.#wishes.push((found = { name: wish, candidates, waiting: [] }))
    const { waiting } = found
    return new Promise((resolve) => waiting.push(resolve))
  }

  async #askAll(): Promise<void> {
    for (let wishes = this.#next(); wishes.length > 0; wishes = this.#next()) {
      const chosen = await this.#choose(wishes).catch(() => undefined)
      const everybody = wishes.flatMap(({ waiting }) => waiting)
      everybody.forEach((resolve, index) => {
        const id = chosen?.[index]
        resolve(typeof id === 'string' ? id : undefined)
      })
      // Nobody waits for a Redis that does not answer: those who came meanwhile choose by themselves too.
      if (!chosen)
        for (const { waiting } of this.#wishes.splice(0)) for (const resolve of waiting) resolve(undefined)
    }
    this.#asking = false
  }

  /** What waits, as far as one script shall hold up Redis. */
  #next(): Asking[] {
    const asking: Asking[] = []
    let room = AT_ONCE
    while (room > 0) {
      const [wish] = this.#wishes
      if (!wish) break
      const waiting = wish.waiting.splice(0, room)
      if (wish.waiting.length === 0) this.#wishes.shift()
      room -= waiting.length
      const candidates = wish.candidates(waiting.length + SPARE_CANDIDATES)
      // They may all have gone since somebody asked.
      if (candidates.length > 0) asking.push({ candidates, waiting })
      else for (const resolve of waiting) resolve(undefined)
    }
    return asking
  }

  async #choose(asking: Asking[]): Promise<unknown[]> {
    const deadline = Math.round(this.#nowMicros() / 1_000) + DEADLINE_MS
    const words: (string | number)[] = [deadline, SLOT_MS, randomBytes(9).toString('base64')]
    for (const { candidates, waiting } of asking) {
      words.push(waiting.length, candidates.length)
      for (const { id, tunnels, capacity } of candidates) words.push(id, tunnels, capacity)
    }
    const answer = await this.#run(words)
    return Array.isArray(answer) ? answer : []
  }
}
