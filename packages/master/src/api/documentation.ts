// The interface, described by the routes themselves: OpenAPI 3.1 for programs, a page for people that needs no internet.
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'

import type { Api } from './schema.ts'

export async function documentation(api: Api, version: string): Promise<void> {
  await api.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'sshoal',
        version,
        description:
          'Devices behind NAT hold a tunnel open; this is how one sees them, lets them in and moves them.',
      },
      components: {
        securitySchemes: { token: { type: 'http', scheme: 'bearer', description: 'A token of `/tokens`.' } },
      },
      tags: [
        { name: 'connect', description: 'Where a device opens its tunnel' },
        { name: 'cluster', description: 'Masters, slaves, tunnels, events' },
        { name: 'devices', description: 'Who is let in' },
        { name: 'tokens', description: 'Who may call this' },
        { name: 'health', description: 'For those who watch the process' },
      ],
    },
    refResolver: {
      buildLocalReference: (json, _base, _fragment, index) =>
        typeof json.$id === 'string' ? json.$id : `Schema${index}`,
    },
    transform: ({ schema, url, route }) => {
      const access = route.config?.access
      const secured = access === undefined || access === 'anyone' ? {} : { security: [{ token: [] }] }
      const hint = access === undefined || access === 'anyone' ? '' : ` (${access})`
      return { url, schema: { ...schema, summary: `${schema?.summary ?? ''}${hint}`, ...secured } }
    },
  })
  api.get('/openapi.json', { schema: { hide: true } }, async () => api.swagger())
  await api.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    uiConfig: { validatorUrl: null, deepLinking: true },
  })
}
