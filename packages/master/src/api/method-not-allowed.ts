// Tells a wrong path from a wrong method: what Fastify answers with 404 may be a route that only knows other methods.
import { SshoalError } from '@sshoal/shared'
import type { FastifyReply, FastifyRequest } from 'fastify'

import type { Api } from './schema.ts'

/** Call before any route is registered; returns the handler for everything that has no route. */
export function methodsByPath(api: Api): (request: FastifyRequest, reply: FastifyReply) => void {
  const routes = new Map<string, { form: RegExp; methods: Set<string> }>()
  api.addHook('onRoute', (route) => {
    let entry = routes.get(route.url)
    if (!entry) {
      entry = { form: formOf(route.url), methods: new Set() }
      routes.set(route.url, entry)
    }
    for (const method of [route.method].flat()) entry.methods.add(method)
  })
  return (request, reply) => {
    const path = request.url.split('?', 1)[0] ?? ''
    const methods = [...routes.values()]
      .filter(({ form }) => form.test(path))
      .flatMap((route) => [...route.methods])
    if (methods.length === 0) throw new SshoalError('NOT_FOUND', `there is nothing at ${path.slice(0, 200)}`)
    const allowed = [...new Set(methods)].sort().join(', ')
    reply.header('allow', allowed)
    throw new SshoalError('METHOD_NOT_ALLOWED', `${request.method} does not work here; ${allowed} does`)
  }
}

/** `/devices/:id` as a pattern; a `*` matches the rest. */
function formOf(url: string): RegExp {
  const parts = url.split('/').map((part) => {
    if (part.startsWith(':')) return '[^/]+'
    return part.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace('*', '.*')
  })
  return new RegExp(`^${parts.join('/')}/?$`)
}
