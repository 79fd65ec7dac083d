// Bytes that wait, in order; copied, because what is read next overwrites them. Small pieces are copied together: a peer that sends single bytes into a stalled visit would
// otherwise hold a packet buffer and a list entry for each of them, a hundred times what its window allows.

const BLOCK_BYTES = 16 * 1024

export class Backlog {
  #blocks: Buffer[] = []
  /** Bytes in use of the last block while it is one of ours with space left. */
  #filled = 0
  #open = false
  #length = 0

  get length(): number {
    return this.#length
  }

  add(data: Buffer): void {
    this.#length += data.length
    let rest = data
    const last = this.#blocks.at(-1)
    if (this.#open && last !== undefined) {
      const copied = rest.copy(last, this.#filled)
      this.#filled += copied
      rest = rest.subarray(copied)
      if (this.#filled === last.length) this.#open = false
      if (rest.length === 0) return
      this.#close()
    }
    if (rest.length >= BLOCK_BYTES / 2) {
      this.#blocks.push(Buffer.from(rest))
      return
    }
    const block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
    this.#filled = rest.copy(block)
    this.#open = true
    this.#blocks.push(block)
  }

  /** All of it; the backlog is empty afterwards. */
  take(): Buffer[] {
    this.#close()
    const blocks = this.#blocks
    this.#blocks = []
    this.#length = 0
    return blocks
  }

  #close(): void {
    const last = this.#blocks.at(-1)
    if (this.#open && last !== undefined)
      this.#blocks[this.#blocks.length - 1] = last.subarray(0, this.#filled)
    this.#open = false
  }
}
