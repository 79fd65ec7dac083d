// Where outgoing packets live. ssh2 allocates 32 KiB per packet and fetches fresh random padding for each; here packets
// of one turn are carved from one slab, padding comes from a pool, and the slab is used again as soon as the kernel took
// every byte of it. Only for the ciphers of the native addon that authenticate by themselves: they encrypt in place.
import { randomFillSync } from 'node:crypto'

import { library } from '../library.ts'
import type { Cipher } from '../library.ts'
import { giveSlabBack, SLAB_BYTES, takeSlab } from '../slabs.ts'

const RANDOM_BYTES = 16 * 1024
const TAG_BYTES = 16
const MIN_PADDING = 4

const random = Buffer.allocUnsafeSlow(RANDOM_BYTES)
let randomAt = RANDOM_BYTES
let slab = takeSlab()
let slabAt = 0
/** Transports that have not handed their packets to the kernel yet. */
let holders = 0

/** A transport is about to hold packets until the end of the turn. */
export function holdPackets(): void {
  holders += 1
}

/**
 * It has written them; `taken` says that the kernel has all of them, else the slab stays with the socket. Answers what to
 * call when the socket is done with it; undefined where others have packets in it too, and only the collector knows.
 */
export function releasePackets(taken: boolean): (() => void) | undefined {
  holders -= 1
  if (taken) {
    if (holders === 0) slabAt = 0
    return undefined
  }
  const given = slab
  newSlab()
  if (holders > 0) return undefined
  return () => giveSlabBack(given)
}

function newSlab(): void {
  if (slabAt > 0) slab = takeSlab()
  slabAt = 0
}

function carve(length: number): Buffer {
  if (length > SLAB_BYTES - slabAt) newSlab()
  const packet = slab.subarray(slabAt, slabAt + length)
  slabAt += length
  return packet
}

/** The packet of RFC 4253 §6 with room for the tag; the length field is not encrypted, so it does not count as padded. */
function allocate(block: number, payloadLength: number): Buffer {
  let padding = block - ((1 + payloadLength) % block)
  if (padding < MIN_PADDING) padding += block
  const end = 5 + payloadLength + padding
  const packet = carve(end + TAG_BYTES)
  packet.writeUInt32BE(end - 4)
  packet[4] = padding
  if (randomAt + padding > RANDOM_BYTES) {
    randomFillSync(random)
    randomAt = 0
  }
  random.copy(packet, 5 + payloadLength, randomAt, randomAt + padding)
  randomAt += padding
  return packet
}

const BLOCKS: Record<string, number> = { AESGCMCipherBinding: 16, ChaChaPolyCipherBinding: 8 }

/** Makes a cipher that has just been put in use allocate from here. The change is to its class, so it happens once. */
export function usePacketMemory(cipher: Cipher): void {
  if (!library.native) return
  const prototype = Object.getPrototypeOf(cipher) as Cipher
  const block = BLOCKS[prototype.constructor.name]
  if (block === undefined || patched.has(prototype)) return
  patched.add(prototype)
  prototype.allocPacket = (payloadLength) => allocate(block, payloadLength)
}

const patched = new WeakSet<Cipher>()
