// Public keys for tests, made from a number: the same number is the same key.
import { createHash } from 'node:crypto'

import { parsePublicKeyLine } from '@sshoal/shared'

export function keyLine(seed: number, comment = ''): string {
  const name = Buffer.from('ssh-ed25519')
  const point = createHash('sha256').update(`key ${seed}`).digest()
  const wire = Buffer.concat([uint32(name.length), name, uint32(point.length), point])
  return `ssh-ed25519 ${wire.toString('base64')}${comment === '' ? '' : ` ${comment}`}`
}

export function fingerprint(seed: number): string {
  return parsePublicKeyLine(keyLine(seed)).fingerprint
}

export function blob(seed: number): string {
  return parsePublicKeyLine(keyLine(seed)).base64
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
