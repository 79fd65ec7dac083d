// Asks silent connections for a sign of life and cuts those that give none. One wheel of seconds for all connections:
// a timer each would cost memory and wake-ups at ten thousand devices. A connection that talks is never asked.

export interface Watched {
  /** ms on the monotonic clock when the peer was last heard. */
  readonly lastHeardAt: number
  ping(): void
  /** No answer to `max` keepalives. */
  onSilent(): void
}

interface Entry {
  /** Undefined once nobody watches any more; the wheel drops the entry when it comes by. */
  watched: Watched | undefined
  intervalMs: number
  max: number
  unanswered: number
  /** When it was last asked; an answer since then moves `lastHeardAt` past it. */
  askedAt: number
}

const TICK_MS = 1_000
const SLOTS = 3_600
/** A wheel that is later than this was stopped with its process, not slowed down by work. */
const LATE_TICKS = 3

/** Call to stop watching. */
export type Unwatch = () => void

export class Keepalive {
  readonly #slots: Set<Entry>[] = Array.from({ length: SLOTS }, () => new Set())
  readonly #timer: NodeJS.Timeout
  #position = 0
  #startedAt = performance.now()
  /** Keepalives sent. */
  asked = 0

  constructor() {
    this.#timer = setInterval(() => this.#advance(), TICK_MS)
    this.#timer.unref()
  }

  /** `intervalMs` 0: never asked. Cut after `max` unanswered, that is after `intervalMs * (max + 1)` of silence. */
  watch(watched: Watched, intervalMs: number, max: number): Unwatch {
    if (intervalMs === 0) return () => {}
    const entry: Entry = { watched, intervalMs, max, unanswered: 0, askedAt: 0 }
    this.#schedule(entry, intervalMs)
    return () => {
      entry.watched = undefined
    }
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #schedule(entry: Entry, inMs: number): void {
    // A little early is better than a second late: `round` keeps 15 s at 15 s when the wheel itself is late.
    const ticks = Math.min(SLOTS - 1, Math.max(1, Math.round(inMs / TICK_MS)))
    this.#slots[(this.#position + ticks) % SLOTS]?.add(entry)
  }

  /** Catches up with the clock: a busy loop delays ticks. */
  #advance(): void {
    const due = Math.floor((performance.now() - this.#startedAt) / TICK_MS)
    if (due > LATE_TICKS) {
      // The process was stopped: that silence was ours. What waits in the sockets is read before anybody is judged.
      this.#startedAt = performance.now()
      return
    }
    for (let i = 0; i < due; i++) {
      this.#startedAt += TICK_MS
      this.#position = (this.#position + 1) % SLOTS
      const slot = this.#slots[this.#position]
      if (!slot || slot.size === 0) continue
      this.#slots[this.#position] = new Set()
      for (const entry of slot) if (entry.watched) this.#check(entry, entry.watched)
    }
  }

  #check(entry: Entry, watched: Watched): void {
    const heardAt = watched.lastHeardAt
    const silentMs = performance.now() - heardAt
    if (entry.unanswered > 0 && heardAt >= entry.askedAt) entry.unanswered = 0
    if (silentMs < entry.intervalMs - TICK_MS / 2) return this.#schedule(entry, entry.intervalMs - silentMs)
    const waitedMs = performance.now() - entry.askedAt
    if (entry.unanswered > 0 && waitedMs < entry.intervalMs - TICK_MS / 2)
      return this.#schedule(entry, entry.intervalMs - waitedMs)
    if (entry.unanswered >= entry.max) return watched.onSilent()
    entry.unanswered++
    entry.askedAt = performance.now()
    this.asked++
    watched.ping()
    this.#schedule(entry, entry.intervalMs)
  }
}
