// For those who watch the process: alive, ready, and the numbers.
import { SshoalError } from '@sshoal/shared'
import { Type } from 'typebox'

import { mayActAs, sameText } from '../tokens/token.ts'
import { authenticate, bearerOf } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { errors, textAnswer, type Api } from './schema.ts'

const StatusBody = Type.Object({
  status: Type.String(),
  version: Type.String(),
  uptimeSeconds: Type.Integer(),
})

const DetailBody = Type.Object({
  ...StatusBody.properties,
  id: Type.Optional(Type.String()),
  name: Type.Optional(Type.String()),
  description: Type.Optional(Type.String()),
  uptimeMs: Type.Optional(Type.Integer()),
  memoryMB: Type.Optional(Type.Number({ description: 'Heap in use.' })),
  eventLoopDelayMs: Type.Optional(Type.Number({ description: 'Mean of the last ten seconds.' })),
  queue: Type.Optional(Type.Integer({ description: 'Ends of leases that wait.' })),
  problems: Type.Optional(Type.Array(Type.String())),
})

export async function healthRoutes(
  api: Api,
  { config, metrics, ready, tokens, health }: ApiDeps,
): Promise<void> {
  const tags = ['health']
  const status = () => ({
    status: 'ok',
    version: config.version,
    uptimeSeconds: Math.floor(process.uptime()),
  })

  api.get(
    '/healthz',
    {
      config: { access: 'anyone' },
      schema: {
        operationId: 'getHealth',
        tags,
        summary: 'The process answers; with `detail` and a token of role operator also how it feels',
        querystring: Type.Object({
          detail: Type.Optional(
            Type.Boolean({ description: '`status` is `unhealthy` where `problems` names one.' }),
          ),
        }),
        response: { 200: DetailBody, ...errors(400, 401, 403) },
      },
    },
    async (request) => {
      if (request.query.detail !== true) return status()
      const principal = await authenticate(request, tokens)
      if (!mayActAs(principal.role, 'operator'))
        throw new SshoalError('FORBIDDEN', `this needs a token of role operator, yours is ${principal.role}`)
      const report = health.report()
      return {
        ...status(),
        status: report.problems.length > 0 ? 'unhealthy' : 'ok',
        id: config.master,
        name: 'sshoal master',
        description: 'control plane of a clustered SSH reverse-tunnel bouncer',
        uptimeMs: Math.floor(process.uptime() * 1_000),
        ...report,
      }
    },
  )

  api.get(
    '/readyz',
    {
      config: { access: 'anyone' },
      schema: {
        operationId: 'getReadiness',
        tags,
        summary: 'The master has read its store once and is not stopping',
        response: { 200: StatusBody, ...errors(503) },
      },
    },
    async () => {
      if (!ready()) throw new SshoalError('NOT_READY', 'this master is starting or stopping')
      return status()
    },
  )

  api.get(
    '/metrics',
    {
      config: { access: 'anyone' },
      schema: {
        operationId: 'getMetrics',
        tags,
        summary: 'Numbers for Prometheus; with --metrics-token it asks for that token, or an operator’s',
        response: { 200: textAnswer('The numbers.', 'text/plain'), ...errors(401, 403) },
      },
    },
    async (request, reply) => {
      if (config.metricsToken !== undefined && !sameText(bearerOf(request) ?? '', config.metricsToken)) {
        const principal = await authenticate(request, tokens)
        if (!mayActAs(principal.role, 'operator'))
          throw new SshoalError('FORBIDDEN', 'this needs the metrics token, or a token of role operator')
      }
      return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics())
    },
  )
}
