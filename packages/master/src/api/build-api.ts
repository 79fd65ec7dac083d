// The REST interface as a Fastify that does not listen yet. One plugin per resource; what they need comes in from outside.
// The slave link shares its server and is none of its business.
import type { ServerOptions } from 'node:https'
import type { Socket } from 'node:net'

import { SshoalError, type Log } from '@sshoal/shared'
import Fastify, { type FastifyReply } from 'fastify'

import type { Access } from '../access/access.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { Events } from '../events/events.ts'
import type { Health } from '../health.ts'
import type { Leases } from '../leases/leases.ts'
import type { MasterMetrics } from '../metrics.ts'
import type { RefusedKeys } from '../registry/refused.ts'
import type { Registry } from '../registry/registry.ts'
import type { Store } from '../store/store.ts'
import type { Tokens } from '../tokens/tokens.ts'
import { guard } from './access.ts'
import { auditRoutes } from './audit-routes.ts'
import { auditChanges } from './change-audit.ts'
import { clusterRoutes } from './cluster-routes.ts'
import { ConnectDesk } from './connect-desk.ts'
import { connectRoutes } from './connect-routes.ts'
import { connectShortcut } from './connect-shortcut.ts'
import { deviceActionRoutes } from './device-action-routes.ts'
import { deviceImportRoutes } from './device-import-routes.ts'
import { deviceRoutes } from './device-routes.ts'
import { documentation } from './documentation.ts'
import { answerError, ErrorBody } from './error-body.ts'
import { eventRoutes } from './event-routes.ts'
import { gateRoutes } from './gate-routes.ts'
import { grantRoutes } from './grant-routes.ts'
import { healthRoutes } from './health-routes.ts'
import { leaseRoutes } from './lease-routes.ts'
import { methodsByPath } from './method-not-allowed.ts'
import { poolRoutes } from './pool-routes.ts'
import { projectRoutes } from './project-routes.ts'
import { compileSchema, type Api, type TypeboxProvider } from './schema.ts'
import { serializersOnUse } from './serializer.ts'
import { sshConfigRoutes } from './ssh-config-routes.ts'
import { sshKeyGenRoutes } from './ssh-key-gen-routes.ts'
import { storeRoutes } from './store-routes.ts'
import { targetRoutes } from './target-routes.ts'
import { tokenRoutes } from './token-routes.ts'
import { userKeyRoutes } from './user-key-routes.ts'
import { userRoutes } from './user-routes.ts'

export interface ApiConfig {
  /** This master's id. */
  master: string
  version: string
  /** CIDR blocks whose X-Forwarded-* headers are believed. */
  trustProxy: string[]
  /** Slots per second and source, and at once. */
  connectRate: number
  connectBurst: number
  /** Undefined: anyone may ask for a slot. */
  connectToken?: string | undefined
  /** Undefined: anyone may read the metrics. */
  metricsToken?: string | undefined
}

export interface ApiDeps {
  cluster: Cluster
  registry: Registry
  leases: Leases
  access: Access
  health: Health
  refused: RefusedKeys
  tokens: Tokens
  events: Events
  metrics: MasterMetrics
  store: Store
  config: ApiConfig
  log: Log
  /** True once the store was read, until the master stops. */
  ready: () => boolean
  /** TLS; undefined: plain HTTP. */
  https?: ServerOptions | undefined
}

const MAX_BODY_BYTES = 1024 * 1024

/** Ready to listen; `close()` ends event streams and waits for requests. */
export async function buildApi(deps: ApiDeps): Promise<Api> {
  const { config, log } = deps
  const options = {
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    trustProxy: config.trustProxy.length > 0 ? config.trustProxy : false,
    forceCloseConnections: 'idle' as const,
    routerOptions: { maxParamLength: 1_024 },
    schemaController: { compilersFactory: { buildSerializer: serializersOnUse } },
    frameworkErrors: (error: Error, _request: unknown, reply: FastifyReply) => sendError(error, reply),
    clientErrorHandler: (_error: Error, socket: Socket) => {
      const body = JSON.stringify({ error: 'that is not an HTTP request', code: 'INVALID_REQUEST' })
      if (!socket.writable) socket.destroy()
      else
        socket.end(
          `HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
        )
    },
  }
  const app = (deps.https ? Fastify({ ...options, https: deps.https }) : Fastify(options)) as unknown as Api
  const api = app.withTypeProvider<TypeboxProvider>()

  api.addSchema(ErrorBody)
  api.setValidatorCompiler(compileSchema as never)
  api.setErrorHandler((error, _request, reply) => sendError(error, reply))
  api.setNotFoundHandler(methodsByPath(api))
  // Many clients name a type and send nothing; that is no body, not a wrong one.
  api.removeContentTypeParser('application/json')
  const parseJson = api.getDefaultJsonParser('error', 'error')
  api.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) =>
    body === '' ? done(null, undefined) : parseJson(request, body as string, done),
  )

  const desk = new ConnectDesk(deps)
  await documentation(api, config.version)
  await api.register(async (guarded) => {
    guard(guarded, deps.tokens)
    auditChanges(guarded, { ledger: deps.access.ledger, store: deps.store, log })
    const connect = (scope: Api) => connectRoutes(scope, { ...deps, desk })
    // These change how bodies are read. A scope of its own for all others too took a fifth of the time of building this.
    const apart = new Set<unknown>([connect, deviceImportRoutes, sshKeyGenRoutes, storeRoutes])
    const plugins = [
      connect,
      clusterRoutes,
      eventRoutes,
      deviceRoutes,
      deviceActionRoutes,
      deviceImportRoutes,
      tokenRoutes,
      storeRoutes,
      leaseRoutes,
      sshKeyGenRoutes,
      userRoutes,
      userKeyRoutes,
      targetRoutes,
      grantRoutes,
      poolRoutes,
      gateRoutes,
      projectRoutes,
      auditRoutes,
      sshConfigRoutes,
      healthRoutes,
    ]
    for (const plugin of plugins) {
      const add = (scope: unknown) => plugin(scope as Api, deps)
      if (apart.has(plugin)) await guarded.register(async (scope) => add(scope))
      else await add(guarded)
    }
  })
  let open = true
  api.addHook('preClose', async () => void (open = false))
  await api.ready()
  // Where a token must be shown, the route looks at it.
  if (config.connectToken === undefined) {
    const proxied = config.trustProxy.length > 0
    const shortcut = connectShortcut({ desk, proxied, open: () => open, log })
    api.server.removeAllListeners('request')
    api.server.on('request', (request, response) => {
      if (!shortcut(request, response)) api.routing(request, response)
    })
  }
  return api

  function sendError(error: unknown, reply: FastifyReply): void {
    const { status, body, unexpected } = answerError(error)
    if (unexpected) log.error({ err: error, code: errorCode(error) }, 'a request failed')
    if (status === 401) reply.header('www-authenticate', 'Bearer realm="sshoal"')
    if (status === 503 && !reply.hasHeader('retry-after')) reply.header('retry-after', 5)
    void reply.code(status).type('application/json; charset=utf-8').send(body)
  }
}

function errorCode(error: unknown): string | undefined {
  return error instanceof SshoalError ? error.code : undefined
}
