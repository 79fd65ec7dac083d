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

export async function healthRoutes(api: Api, { config, metrics, ready, tokens }: ApiDeps): Promise<void> {
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
        summary: 'The process answers',
        response: { 200: StatusBody },
      },
    },
    async () => status(),
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
