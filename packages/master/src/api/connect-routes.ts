// `/connect`: where a device shall open its tunnel. The one route that a fleet calls all at once after an outage,
// so it does nothing but count, choose and answer, and it answers what a busybox shell can read too. Most never come here:
// connect-shortcut.ts answers them as this route would.
import { SshoalError } from '@sshoal/shared'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'

import { mayActAs, sameText } from '../tokens/token.ts'
import { authenticate, bearerOf } from './access.ts'
import { askedHost } from './asked-host.ts'
import type { ApiDeps } from './build-api.ts'
import type { ConnectAnswer, ConnectDesk } from './connect-desk.ts'
import { wantsText } from './connect-format.ts'
import { errors, textAnswer, type Api } from './schema.ts'

const ConnectQuery = Type.Object({
  region: Type.Optional(Type.String({ minLength: 1, maxLength: 63 })),
  port: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 65_535,
      description: 'Only slaves that devices reach on this SSH port.',
    }),
  ),
  format: Type.Optional(Type.Union([Type.Literal('json'), Type.Literal('text')])),
})

const SlotBody = Type.Object({
  slave: Type.String(),
  host: Type.String(),
  port: Type.Integer(),
  hostKeys: Type.Array(Type.String({ description: '`type base64`, as behind the host in known_hosts.' })),
  expiresInMs: Type.Integer(),
})

export interface ConnectRoutesDeps extends ApiDeps {
  desk: ConnectDesk
}

export async function connectRoutes(api: Api, deps: ConnectRoutesDeps): Promise<void> {
  const { config, desk, metrics } = deps
  const unauthorized = metrics.slots.labels('unauthorized')

  // The query says everything; whatever body a client sends along is read and forgotten.
  api.removeAllContentTypeParsers()
  api.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: 4_096 }, (_request, _body, done) =>
    done(null),
  )

  for (const method of ['GET', 'POST'] as const)
    api.route({
      method,
      url: '/connect',
      exposeHeadRoute: false, // HEAD would reserve a slot that nobody sees
      config: { access: 'anyone' },
      schema: {
        operationId: method === 'GET' ? 'connect' : 'connectPost',
        tags: ['connect'],
        summary: 'A slot: the least busy slave, reserved for 2.5 s',
        description:
          'With `?format=text` or `Accept: text/plain` the answer is lines: first `host port`, then one known_hosts line per host key.',
        querystring: ConnectQuery,
        response: { 200: textAnswer('The slot.', 'text/plain', SlotBody), ...errors(400, 401, 429, 503) },
      },
      handler: async (request, reply) => {
        const limited = desk.limit(request.ip)
        if (limited) return send(reply, limited)
        if (config.connectToken !== undefined && !(await mayConnect(request, config.connectToken, deps))) {
          unauthorized.inc()
          reply.header('cache-control', 'no-store')
          throw new SshoalError('UNAUTHORIZED', 'a slot needs the connect token: Authorization: Bearer TOKEN')
        }
        const { region, port, format } = request.query
        const wish = { ...(region === undefined ? {} : { region }), ...(port === undefined ? {} : { port }) }
        const inText = wantsText(format, request.headers.accept)
        return send(reply, await desk.slot(wish, inText, () => askedHost(request)))
      },
    })
}

async function mayConnect(request: FastifyRequest, connectToken: string, deps: ApiDeps): Promise<boolean> {
  const text = bearerOf(request)
  if (text === undefined) return false
  if (sameText(text, connectToken)) return true
  // Whoever may operate the cluster may try it.
  return authenticate(request, deps.tokens).then(
    ({ role }) => mayActAs(role, 'operator'),
    () => false,
  )
}

/** Past the serializer of the schema: the body is a text already. */
function send(reply: FastifyReply, { status, head, body }: ConnectAnswer): FastifyReply {
  for (let n = 0; n + 1 < head.length; n += 2) reply.header(head[n] ?? '', head[n + 1])
  return reply.code(status).serializer(String).send(body)
}
