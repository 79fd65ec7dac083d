// The PROXY protocol's header, versions 1 and 2 (HAProxy, proxy-protocol.txt): a pure reader over the first bytes of a
// connection. Says who is behind the proxy, how long the header is, or that it is none.
import { isIP, isIPv4, isIPv6 } from 'node:net'

/** `source` undefined: LOCAL or UNKNOWN, the socket's own address counts. */
export type ProxyHeader =
  | { outcome: 'header'; length: number; source: { address: string; port: number } | undefined }
  | { outcome: 'more' }
  | { outcome: 'bad'; reason: string }

const V1_START = Buffer.from('PROXY ')
/** "\r\n" included (proxy-protocol.txt §2.1). */
const V1_MOST = 107
const V2_START = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const V2_FIXED = 16
/** Addresses and TLVs: two unix addresses are the longest (216), TLVs get 2 KB. */
const V2_MOST = 216 + 2_048

export function readProxyHeader(data: Buffer): ProxyHeader {
  if (startsLike(data, V2_START)) return data.length < V2_FIXED ? { outcome: 'more' } : readV2(data)
  if (startsLike(data, V1_START)) return readV1(data)
  return { outcome: 'bad', reason: 'the connection does not begin with a PROXY header' }
}

function startsLike(data: Buffer, start: Buffer): boolean {
  const length = Math.min(data.length, start.length)
  return data.compare(start, 0, length, 0, length) === 0
}

function readV1(data: Buffer): ProxyHeader {
  const end = data.subarray(0, V1_MOST).indexOf('\r\n')
  if (end < 0)
    return data.length < V1_MOST
      ? { outcome: 'more' }
      : { outcome: 'bad', reason: 'the PROXY line is longer than 107 bytes' }
  const length = end + 2
  const words = data.toString('latin1', 0, end).split(' ')
  const [, family, source = '', destination = '', sourcePort = '', destinationPort = ''] = words
  if (family === 'UNKNOWN') return { outcome: 'header', length, source: undefined }
  const valid = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined
  if (
    !valid ||
    words.length !== 6 ||
    !valid(source) ||
    !valid(destination) ||
    !isPort(sourcePort) ||
    !isPort(destinationPort)
  )
    return { outcome: 'bad', reason: 'the PROXY line is malformed' }
  return { outcome: 'header', length, source: { address: source, port: Number(sourcePort) } }
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}

function readV2(data: Buffer): ProxyHeader {
  const version = (data[12] ?? 0) >> 4
  const command = (data[12] ?? 0) & 0x0f
  const family = data[13] ?? 0
  const length = V2_FIXED + data.readUInt16BE(14)
  if (version !== 2 || command > 1)
    return { outcome: 'bad', reason: 'the PROXY header has an unknown version or command' }
  if (length > V2_FIXED + V2_MOST) return { outcome: 'bad', reason: 'the PROXY header is too long' }
  if (data.length < length) return { outcome: 'more' }
  // LOCAL (a health check of the proxy itself), unspecified and unix: the socket's address is all there is.
  if (command === 0 || (family !== 0x11 && family !== 0x21))
    return { outcome: 'header', length, source: undefined }
  const size = family === 0x11 ? 4 : 16
  if (length < V2_FIXED + 2 * size + 4)
    return { outcome: 'bad', reason: 'the PROXY header is shorter than its addresses' }
  const raw = data.subarray(V2_FIXED, V2_FIXED + size)
  const address = size === 4 ? raw.join('.') : ipv6(raw)
  return { outcome: 'header', length, source: { address, port: data.readUInt16BE(V2_FIXED + 2 * size) } }
}

function ipv6(raw: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => raw.readUInt16BE(2 * i).toString(16)).join(':')
  // The WHATWG URL parser writes the canonical form (RFC 5952).
  const canonical = new URL(`http://[${groups}]`).hostname.slice(1, -1)
  return isIP(canonical) === 6 ? canonical : groups
}
