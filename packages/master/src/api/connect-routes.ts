// `/connect`: where a device shall open its tunnel. The one route that a fleet calls all at once after an outage,
// so it does nothing but count, choose and answer, and it answers what a busybox shell can read too.
import { SshoalError } from '@sshoal/shared'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type, type Static } from 'typebox'

import type { Slot } from '../cluster/cluster.ts'
import { mayActAs, sameText } from '../tokens/token.ts'
import { authenticate, bearerOf } from './access.ts'
import { askedHost } from './asked-host.ts'
import type { ApiDeps } from './build-api.ts'
import { errors, textAnswer, type Api } from './schema.ts'
import { SourceRate } from './source-rate.ts'

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
type SlotBody = Static<typeof SlotBody>

export async function connectRoutes(api: Api, deps: ApiDeps): Promise<void> {
  const { config, cluster, metrics } = deps
  const rate = new SourceRate(config.connectRate, config.connectBurst)
  const given = metrics.slots.labels('given')
  const missing = metrics.slots.labels('no_slave')
  const limited = metrics.slots.labels('limited')
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
        const waitMs = rate.take(request.ip)
        reply.header('cache-control', 'no-store')
        if (waitMs > 0) {
          limited.inc()
          reply.header('retry-after', Math.ceil(waitMs / 1_000))
          return reply
            .code(429)
            .send({ error: 'too many slots were asked for from here', code: 'RATE_LIMITED' })
        }
        if (config.connectToken !== undefined && !(await mayConnect(request, config.connectToken, deps))) {
          unauthorized.inc()
          throw new SshoalError('UNAUTHORIZED', 'a slot needs the connect token: Authorization: Bearer TOKEN')
        }
        const { region, port, format } = request.query
        const slot = await cluster.slot({
          ...(region === undefined ? {} : { region }),
          ...(port === undefined ? {} : { port }),
        })
        if (!slot) {
          missing.inc()
          reply.header('retry-after', 5)
          return reply.code(503).send({ error: 'no slave can take a device at the moment', code: 'NO_SLAVE' })
        }
        given.inc()
        const body = bodyOf(slot, request)
        return wantsText(request, format) ? sendText(reply, body) : reply.send(body)
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

function bodyOf(slot: Slot, request: FastifyRequest): SlotBody {
  return {
    slave: slot.slave,
    host: slot.host ?? askedHost(request),
    port: slot.port,
    hostKeys: slot.hostKeys.map(({ algorithm, publicKey }) => `${algorithm} ${publicKey}`),
    expiresInMs: slot.expiresInMs,
  }
}

function wantsText(request: FastifyRequest, format: 'json' | 'text' | undefined): boolean {
  if (format !== undefined) return format === 'text'
  const accept = request.headers.accept
  return accept !== undefined && accept.includes('text/plain') && !accept.includes('application/json')
}

/** The plain host, whatever the port: dropbear ignores `[host]:port` lines, OpenSSH accepts both. */
function sendText(reply: FastifyReply, slot: SlotBody): FastifyReply {
  const lines = [`${slot.host} ${slot.port}`, ...slot.hostKeys.map((key) => `${slot.host} ${key}`)]
  // Past the JSON serializer of the schema, which texts do not go through.
  return reply
    .type('text/plain; charset=utf-8')
    .serializer(String)
    .send(`${lines.join('\n')}\n` as never)
}
