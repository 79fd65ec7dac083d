// Epochs of tunnels that this slave mints while it has no master: its clock, set by the last welcome.
// An epoch is microseconds since 1970 and only rises for a holder (design: "Epoch").

export class EpochClock {
  /** What to add to our wall clock to get the master's, µs. */
  #offsetMicros = 0

  /** Takes the master's clock from a welcome. */
  set(masterNowMicros: number): void {
    this.#offsetMicros = masterNowMicros - Date.now() * 1_000
  }

  /** Greater than `last`, else now. */
  mint(last: number): number {
    return Math.max(last + 1, Date.now() * 1_000 + Math.round(this.#offsetMicros))
  }
}
