// Bytes on their way into one socket, put together until the end of the turn: a system call and the reader that it wakes
// cost more than copying. The memory is used again when the kernel has taken all of it.
import type { Socket } from 'node:net'

import { giveSlabBack, SLAB_BYTES, takeSlab } from './slabs.ts'

export class Gathered {
  #slab: Buffer | undefined
  #length = 0

  get length(): number {
    return this.#length
  }

  /** True if there is room for so much. */
  fits(length: number): boolean {
    return this.#length + length <= SLAB_BYTES
  }

  add(data: Buffer): void {
    this.#slab ??= takeSlab()
    this.#slab.set(data, this.#length)
    this.#length += data.length
  }

  /** Writes it; the memory is the socket's until it has handed all of it to the kernel. */
  writeTo(socket: Socket): void {
    const slab = this.#slab
    if (slab === undefined) return
    const data = slab.subarray(0, this.#length)
    this.#slab = undefined
    this.#length = 0
    if (socket.destroyed || socket.writableEnded) return
    socket.write(data, () => giveSlabBack(slab))
  }
}
