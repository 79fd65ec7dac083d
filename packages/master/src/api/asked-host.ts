// The name by which an asker reached this master: as good as any for a slave that is known by a loopback address alone.
import { isLoopback } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'

/** HTTP/1.0 has none; then the address it came to. */
export function askedHost(request: FastifyRequest): string {
  return nameOrAddress(request.hostname ?? '', request.socket.localAddress)
}

/** The same of a `Host` header, where no proxy said another. */
export function nameOfHost(header: string | undefined, localAddress: string | undefined): string {
  const host = header ?? ''
  const end = host.startsWith('[') ? host.indexOf(']') + 1 : host.indexOf(':')
  return nameOrAddress(end < 0 ? host : host.slice(0, end), localAddress)
}

function nameOrAddress(hostname: string, localAddress = ''): string {
  const host = hostname.replace(/^\[|\]$/g, '')
  if (/^[A-Za-z0-9._:-]{1,255}$/.test(host)) return host
  return localAddress === '' || isLoopback(localAddress) ? 'localhost' : localAddress
}
