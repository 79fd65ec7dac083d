// What the peer of one channel may send ahead (RFC 4254 §5.2). All visits of a device share one connection, so what one of
// them has under way is what a keystroke in another waits behind: the window begins small, and grows while the way to the
// peer and back is what holds it up, as a receive buffer of TCP does. A slow visitor makes nothing grow.

export const FIRST_WINDOW_BYTES = 512 * 1024
/** Also the most that one stalled visit can hold in memory. */
export const MOST_WINDOW_BYTES = 2 * 1024 * 1024
/** A pause that a busy peer makes by itself is shorter; one for the way there and back costs throughput from here on. */
const HELD_UP_MS = 10
/** A busy machine pauses now and then, a long way at every adjustment. */
const PAUSES_TO_GROW = 3

export class ReceiveWindow {
  #size = FIRST_WINDOW_BYTES
  /** What the peer may still send. */
  #left = FIRST_WINDOW_BYTES
  /** What left our memory and was not given back yet. */
  #consumed = 0
  /** What it may send without having heard of an adjustment; undefined: none is on its way that the peer could use at once. */
  #unheard: number | undefined
  #lastAt = 0
  /** One after another, each as long as it takes to hear of an adjustment. */
  #pauses = 0

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

  /** So many bytes left our memory. Answers what to give back now, half a window at a time; 0: nothing yet. */
  consumed(length: number): number {
    this.#consumed += length
    if (this.#consumed < this.#size / 2) return 0
    const back = this.#consumed
    this.#consumed = 0
    if (this.#left > 0) this.#unheard ??= this.#left
    this.#left += back
    return back
  }

  #grow(): void {
    this.#pauses = 0
    const more = Math.min(this.#size, MOST_WINDOW_BYTES - this.#size)
    this.#size += more
    this.#consumed += more
  }
}
