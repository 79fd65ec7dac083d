// Epochs of tunnels that this slave mints while it has no master: its clock, set by the last welcome.
// An epoch is microseconds since 1970 and only rises for a holder (design: "Epoch").

export class EpochClock {
  /** What to add to our wall clock to get the master's, µs. */
  #offsetMicros = 0
  #last = 0

  /** Takes the master's clock from a welcome. */
  set(masterNowMicros: number): void {
    this.#offsetMicros = masterNowMicros - Date.now() * 1_000
  }

  /** Greater than `last` and than all that were minted here, else now: of two newcomers at once each gets its own. */
  mint(last: number): number {
    this.#last = Math.max(last + 1, this.#last + 1, Date.now() * 1_000 + Math.round(this.#offsetMicros))
    return this.#last
  }
}
