// Tunnels that came with a snapshot and of which it is still to be noted that their devices are here: a few at a time, and
// not while many more come. After a restart of the master a million come at once, and each took a quarter more time for it.
// What a kill -9 takes away meanwhile is said again to the next master, by the slaves that hold the tunnels.
import type { LiveTunnel } from './live-tunnel.ts'

const QUIET_MS = 1_000
const EVERY_MS = 50
const AT_ONCE = 500

export class Announced {
  readonly #note: (tunnel: LiveTunnel) => void
  #waiting: LiveTunnel[] = []
  #arrived = false
  #timer: NodeJS.Timeout | undefined

  /** `note` is called once for each tunnel, and looks whether it still stands. */
  constructor(note: (tunnel: LiveTunnel) => void) {
    this.#note = note
  }

  add(tunnel: LiveTunnel): void {
    this.#waiting.push(tunnel)
    this.#arrived = true
    this.#timer ??= setTimeout(() => this.#look(), QUIET_MS).unref()
  }

  /** What waits is noted now. */
  close(): void {
    clearTimeout(this.#timer)
    for (const tunnel of this.#waiting.splice(0)) this.#note(tunnel)
  }

  #look(): void {
    const busy = this.#arrived
    this.#arrived = false
    // From the end, so that nothing moves.
    if (!busy) for (const tunnel of this.#waiting.splice(-AT_ONCE)) this.#note(tunnel)
    const waitMs = busy ? QUIET_MS : EVERY_MS
    this.#timer = this.#waiting.length === 0 ? undefined : setTimeout(() => this.#look(), waitMs).unref()
  }
}
