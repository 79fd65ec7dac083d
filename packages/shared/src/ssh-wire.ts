// The data types of the SSH wire (RFC 4251 §5): one reader that never reads past the end, one writer that builds a payload.
// Knows nothing of any message.

/** A message is shorter than its fields say, or a field has no meaning there. */
export class WireError extends Error {
  readonly code = 'SSH_MALFORMED'
}

export class WireReader {
  #data: Buffer
  #at: number

  constructor(data: Buffer, at = 0) {
    this.#data = data
    this.#at = at
  }

  get position(): number {
    return this.#at
  }

  get left(): number {
    return this.#data.length - this.#at
  }

  #take(length: number): number {
    const at = this.#at
    if (length > this.#data.length - at) throw new WireError('a field ends after its message')
    this.#at = at + length
    return at
  }

  byte(): number {
    return this.#data.readUInt8(this.#take(1))
  }

  boolean(): boolean {
    return this.byte() !== 0
  }

  uint32(): number {
    return this.#data.readUInt32BE(this.#take(4))
  }

  /** A view, not a copy: copy what outlives the packet. */
  string(): Buffer {
    const length = this.uint32()
    const at = this.#take(length)
    return this.#data.subarray(at, at + length)
  }

  text(): string {
    const length = this.uint32()
    const at = this.#take(length)
    return this.#data.toString('utf8', at, at + length)
  }

  nameList(): string[] {
    const text = this.text()
    return text === '' ? [] : text.split(',')
  }
}

export function uint32(value: number): Buffer {
  const field = Buffer.allocUnsafe(4)
  field.writeUInt32BE(value >>> 0)
  return field
}

export function string(value: Buffer | string): Buffer {
  const length = typeof value === 'string' ? Buffer.byteLength(value) : value.length
  const field = Buffer.allocUnsafe(4 + length)
  field.writeUInt32BE(length)
  if (typeof value === 'string') field.write(value, 4)
  else value.copy(field, 4)
  return field
}

/** An unsigned big-endian number as `mpint`: no leading zeros but the one that keeps it positive. */
export function mpint(value: Buffer): Buffer {
  let start = 0
  while (start < value.length && value[start] === 0) start++
  const digits = value.subarray(start)
  const first = digits[0]
  return string(first !== undefined && first >= 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits)
}

type Field = number | boolean | string | Buffer

/** A message: numbers are uint32, booleans a byte, texts and buffers are strings. */
export function message(type: number, ...fields: Field[]): Buffer {
  let length = 1
  for (const field of fields) {
    if (typeof field === 'number') length += 4
    else if (typeof field === 'boolean') length += 1
    else length += 4 + (typeof field === 'string' ? Buffer.byteLength(field) : field.length)
  }
  const payload = Buffer.allocUnsafe(length)
  payload[0] = type
  let at = 1
  for (const field of fields) {
    if (typeof field === 'number') at = payload.writeUInt32BE(field >>> 0, at)
    else if (typeof field === 'boolean') at = payload.writeUInt8(field ? 1 : 0, at)
    else {
      const start = at + 4
      at = start + (typeof field === 'string' ? payload.write(field, start) : field.copy(payload, start))
      payload.writeUInt32BE(at - start, start - 4)
    }
  }
  return payload
}
