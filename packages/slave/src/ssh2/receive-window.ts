// What the peer of one channel may send ahead (RFC 4254 §5.2). All visits of a device share one connection, so what one of
// them has under way is what a keystroke in another waits behind: the window begins small, and grows while the way to the
// peer and back is what holds it up, as a receive buffer of TCP does. A visit that is fast and the only one has the most
// at once: a small window ends every millisecond then, and each time the peer goes to sleep. A slow visitor makes nothing grow.

export const FIRST_WINDOW_BYTES = 512 * 1024
/** Also the most that one stalled visit can hold in memory. */
export const MOST_WINDOW_BYTES = 2 * 1024 * 1024
/** A pause that a busy peer makes by itself is shorter; one for the way there and back costs throughput from here on. */
const HELD_UP_MS = 10
/** A busy machine pauses now and then, a long way at every adjustment. */
const PAUSES_TO_GROW = 3
/** Who takes so much in that time is fast: more than the kernel keeps for a visitor that reads nothing, and at a rate at which the most is 40 ms. */
export const FAST_BYTES = 16 * 1024 * 1024
const FAST_WITHIN_MS = 320

export class ReceiveWindow {
  /** What may be under way or in our memory, whoever else is here. */
  #size = FIRST_WINDOW_BYTES
  /** What is, at most: what was given and did not leave our memory yet. */
  #given = FIRST_WINDOW_BYTES
  /** What the peer may still send. */
  #left = FIRST_WINDOW_BYTES
  /** What it may send without having heard of an adjustment; undefined: none is on its way that the peer could use at once. */
  #unheard: number | undefined
  #lastAt = 0
  /** One after another, each as long as it takes to hear of an adjustment. */
  #pauses = 0
  #fast = false
  /** Given back since then. */
  #passed = 0
  #since = 0

  /** Data came, at so many ms of any clock. False: more than the window. */
  take(length: number, at: number): boolean {
    if (length > this.#left) return false
    if (this.#unheard !== undefined) {
      if (length <= this.#unheard) this.#unheard -= length
      else {
        this.#unheard = undefined
        this.#pauses = at - this.#lastAt >= HELD_UP_MS ? this.#pauses + 1 : 0
        if (this.#pauses === PAUSES_TO_GROW) this.#grow()
      }
    }
    this.#left -= length
    this.#lastAt = at
    return true
  }

  /**
   * So many bytes left our memory; `alone`: no other visit shares the connection. Answers what to give back now, half a
   * window at a time; 0: nothing yet. Where the window has become smaller, nothing is given until it is met.
   */
  consumed(length: number, alone: boolean, now: () => number): number {
    this.#given -= length
    const size = alone && this.#fast ? MOST_WINDOW_BYTES : this.#size
    const back = size - this.#given
    if (back < size / 2) return 0
    if (this.#left > 0) this.#unheard ??= this.#left
    this.#given += back
    this.#left += back
    this.#passed += back
    this.#judge(now())
    return back
  }

  #judge(at: number): void {
    const late = at - this.#since > FAST_WITHIN_MS
    if (!late && this.#passed < FAST_BYTES) return
    this.#fast = !late
    this.#passed = 0
    this.#since = at
  }

  #grow(): void {
    this.#pauses = 0
    this.#size = Math.min(this.#size * 2, MOST_WINDOW_BYTES)
  }
}
