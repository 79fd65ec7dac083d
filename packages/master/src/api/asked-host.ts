// The name by which an asker reached this master: as good as any for a slave that is known by a loopback address alone.
import { isLoopback } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'

/** HTTP/1.0 has none; then the address it came to. */
export function askedHost(request: FastifyRequest): string {
  const host = (request.hostname ?? '').replace(/^\[|\]$/g, '')
  if (/^[A-Za-z0-9._:-]{1,255}$/.test(host)) return host
  const local = request.socket.localAddress ?? ''
  return local === '' || isLoopback(local) ? 'localhost' : local
}
