// Memory for the few bytes that stay as long as their connection. Node cuts small buffers of all kinds from pieces of 8 KB
// that stay as long as any of them: one key of 51 bytes holds the packets of some logins. Here what stays lies together.

const PIECE_BYTES = 8 * 1024
/** Whatever is larger gets memory of its own, as in Node. */
const SMALL_BYTES = PIECE_BYTES / 8

let piece = Buffer.alloc(0)
let at = 0

/** A copy for the life of a connection. */
export function lasting(bytes: Uint8Array): Buffer {
  const { length } = bytes
  if (length > SMALL_BYTES) return place(Buffer.allocUnsafeSlow(length), bytes)
  if (at + length > piece.length) {
    piece = Buffer.allocUnsafeSlow(PIECE_BYTES)
    at = 0
  }
  at += length
  return place(piece.subarray(at - length, at), bytes)
}

function place(to: Buffer, bytes: Uint8Array): Buffer {
  to.set(bytes)
  return to
}
