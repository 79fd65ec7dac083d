// Bytes on their way into one socket, put together until the end of the turn: a system call and the reader that it wakes
// cost more than copying. The memory is used again as soon as the kernel took all of it.
import type { Socket } from 'node:net'

const SLAB_BYTES = 256 * 1024
const KEPT_SLABS = 8

const slabs: Buffer[] = []

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
    this.#slab ??= slabs.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES)
    this.#slab.set(data, this.#length)
    this.#length += data.length
  }

  /** Writes it; the socket keeps the memory if the kernel did not take all at once. */
  writeTo(socket: Socket): void {
    const slab = this.#slab
    if (slab === undefined) return
    const data = slab.subarray(0, this.#length)
    this.#slab = undefined
    this.#length = 0
    if (socket.destroyed || socket.writableEnded) return
    socket.write(data)
    if (socket.writableLength === 0 && slabs.length < KEPT_SLABS) slabs.push(slab)
  }
}
