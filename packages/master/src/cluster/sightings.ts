// Of which tunnels it is still to be noted that their devices are here: of all that came with a snapshot, and of those that
// arrive faster than it can be written. They are noted a few at a time, and not while many more come: after a restart of the
// master a million come at once, and each took a quarter more time for it. A tunnel that waits costs one word here; what is
// noted of it, and waits for the store, takes 300 bytes.
// What a kill -9 takes away meanwhile is said again to the next master, by the slaves that hold the tunnels.
import type { LiveTunnel } from './live-tunnel.ts'

const QUIET_MS = 1_000
const EVERY_MS = 50
/** Arrivals of which it is noted at once. */
const AT_ONCE = 500
/** Of those that wait: 2,000 a second take three hundredths of a core, ten thousand took a fifth of the slots. */
const LATER_AT_ONCE = 100

type Why = 'announced' | 'connected'

export class Sightings {
  readonly #note: (tunnel: LiveTunnel, why: Why) => void
  readonly #waiting: Record<Why, LiveTunnel[]> = { announced: [], connected: [] }
  #busy = false
  #timer: NodeJS.Timeout | undefined
  /** Arrivals since then, which were noted at once. */
  #since = -Infinity
  #arrivals = 0

  /** `note` is called once for each tunnel, and looks whether it still stands. */
  constructor(note: (tunnel: LiveTunnel, why: Why) => void) {
    this.#note = note
  }

  /** May it be noted at once that one arrived? `now`: ms, monotonic. `tunnels`: how many stand. */
  mayNote(now: number, tunnels: number): boolean {
    if (now - this.#since >= EVERY_MS) {
      this.#since = now
      this.#arrivals = 0
    }
    // Where more wait than stand, most have gone again, and would stay in memory for as long as there is no quiet.
    return this.#arrivals++ < AT_ONCE || this.#waiting.connected.length > tunnels
  }

  /** It is noted later. */
  add(tunnel: LiveTunnel, why: Why): void {
    this.#waiting[why].push(tunnel)
    this.#busy = true
    this.#timer ??= setTimeout(() => this.#look(), QUIET_MS).unref()
  }

  /** What waits is noted now. */
  close(): void {
    clearTimeout(this.#timer)
    this.#noteSome(Infinity)
  }

  #look(): void {
    const busy = this.#busy
    this.#busy = false
    if (!busy) this.#noteSome(LATER_AT_ONCE)
    const { announced, connected } = this.#waiting
    const waitMs = busy ? QUIET_MS : EVERY_MS
    this.#timer =
      announced.length + connected.length === 0 ? undefined : setTimeout(() => this.#look(), waitMs).unref()
  }

  /** From the end, so that nothing moves. */
  #noteSome(most: number): void {
    for (const why of ['connected', 'announced'] as const)
      for (const tunnel of this.#waiting[why].splice(-most)) this.#note(tunnel, why)
  }
}
