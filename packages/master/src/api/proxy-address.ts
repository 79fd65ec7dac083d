// Whose address a request comes from, where trusted proxies stand in between: the last address in X-Forwarded-For that is
// not itself a trusted proxy. For upgrades, which Fastify's own `trustProxy` does not see.
import type { IncomingMessage } from 'node:http'

import { AddressSet, plainAddress } from '@sshoal/shared'

export function addressBehindProxies(trusted: string[]): (request: IncomingMessage) => string {
  const proxies = new AddressSet(trusted)
  return (request) => {
    const chain = [String(request.headers['x-forwarded-for'] ?? ''), request.socket.remoteAddress ?? '']
    const hops = chain
      .join(',')
      .split(',')
      .map((hop) => plainAddress(hop.trim()))
      .filter((hop) => hop !== '')
    return hops.findLast((hop) => !proxies.has(hop)) ?? hops[0] ?? ''
  }
}
