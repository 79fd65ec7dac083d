// What one transport has to send: the packets of one turn leave in one system call, and what the peer does not read is
// bounded. ssh2 ignores what `write()` returns, so that a peer which asks and never reads makes it grow without end.
import type { Socket } from 'node:net'

import { holdPackets, releasePackets } from './patches/packet-memory.ts'
import { BULK_BYTES } from './patches/shared-reads.ts'

/** Unsent bytes from which visits are no longer read: the kernel has its own buffer full by then. */
const CONGESTED_BYTES = 64 * 1024
/** Unsent bytes from which the connection itself is no longer read: only answers to it can have piled up so high. */
const STOP_READING_BYTES = 1024 * 1024
/** Bytes of one turn that are written without waiting for its end. */
const FLUSH_BYTES = 128 * 1024

export interface OutboxLimits {
  /** Unsent bytes that are tolerated now. */
  mostUnsent(): number
  onTooMuch(): void
}

export class Outbox {
  readonly #socket: Socket
  readonly #limits: OutboxLimits
  #packets: Buffer[] = []
  #bytes = 0

  constructor(socket: Socket, limits: OutboxLimits) {
    this.#socket = socket
    this.#limits = limits
  }

  get congested(): boolean {
    return this.#socket.writableLength >= CONGESTED_BYTES
  }

  write(data: Buffer): void {
    if (!this.#socket.writable) return
    if (this.#packets.length === 0) {
      holdPackets()
      process.nextTick(this.flush)
    }
    const last = this.#packets.at(-1)
    if (last?.buffer === data.buffer && last.byteOffset + last.length === data.byteOffset) {
      this.#packets[this.#packets.length - 1] = Buffer.from(
        last.buffer,
        last.byteOffset,
        last.length + data.length,
      )
    } else {
      this.#packets.push(data)
    }
    this.#bytes += data.length
    if (this.#bytes >= FLUSH_BYTES) this.flush()
  }

  flush = (): void => {
    const packets = this.#packets
    const [first] = packets
    if (first === undefined) return
    const many = this.#bytes >= BULK_BYTES
    this.#packets = []
    this.#bytes = 0
    const socket = this.#socket
    // What has to wait behind other bytes is copied, so that a stalled peer holds no slab of packets for it.
    const copy = socket.writableLength > 0
    let giveBack: (() => void) | undefined
    const last = packets.pop() ?? first
    if (packets.length > 0) socket.cork()
    for (const data of packets) socket.write(copy ? Buffer.from(data) : data)
    // The kernel takes a few bytes at once, and telling of each write costs more than a slab now and then.
    socket.write(copy ? Buffer.from(last) : last, many ? () => giveBack?.() : undefined)
    if (packets.length > 0) socket.uncork()
    const unsent = socket.writableLength
    // Zero means that the kernel has it all; a write that completes later counts until then.
    giveBack = releasePackets(copy || unsent === 0)
    if (unsent <= CONGESTED_BYTES) return
    if (unsent > this.#limits.mostUnsent()) this.#limits.onTooMuch()
    else if (unsent > STOP_READING_BYTES) socket.pause()
  }
}
