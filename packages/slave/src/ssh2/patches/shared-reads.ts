// Reads sockets into one buffer that all of them share. Node allocates 64 KiB for every read, outside its heap, and
// collects the whole heap when enough of that has gathered, ten times a second at 300 MB/s. The way is Node's own
// (`onread` of net.connect), but an accepted socket cannot ask for it, so it is put in place by hand; where Node's insides
// are not as known, nothing is done and the caller keeps to 'data'.
import type { Socket } from 'node:net'

import { SLAB_BYTES } from '../slabs.ts'

/** A read of so much says that more will follow; for less the change is not worth its cost. */
export const BULK_BYTES = 16 * 1024

const shared = Buffer.allocUnsafeSlow(SLAB_BYTES)

interface Names {
  buffer: symbol
  callback: symbol
}

type Insides = Socket & {
  _handle?: { useUserBuffer?(buffer: Buffer): void } | null
  [name: symbol]: unknown
}

function namesOf(socket: Socket): Names | undefined {
  const own = Object.getOwnPropertySymbols(socket)
  const find = (name: string): symbol | undefined => own.find(({ description }) => description === name)
  const [buffer, callback, generator] = [find('kBuffer'), find('kBufferCb'), find('kBufferGen')]
  if (buffer === undefined || callback === undefined || generator === undefined) return undefined
  return { buffer, callback }
}

/** From now on `onChunk` gets what is read, on the turn of the read; what outlives the call must be copied. False: not possible. */
export function readShared(socket: Socket, onChunk: (chunk: Buffer) => void): boolean {
  const insides = socket as Insides
  const handle = insides._handle
  const names = namesOf(socket)
  if (names === undefined || typeof handle?.useUserBuffer !== 'function' || insides[names.buffer] !== null)
    return false
  insides[names.callback] = (length: number): void => onChunk(shared.subarray(0, length))
  insides[names.buffer] = shared
  handle.useUserBuffer(shared)
  return true
}

/** True for bytes that the next read will overwrite. */
export function isShared(data: Uint8Array): boolean {
  return data.buffer === shared.buffer
}
