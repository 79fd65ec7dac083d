// Changes of devices and tokens in the audit: who, what, what it was before and what after. People, pools, gates and grants
// write theirs in one step with the change (access/ledger.ts); these are written before the answer leaves.
import { DEFAULT_PROJECT, errorText, type Log } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'

import type { Ledger } from '../access/ledger.ts'
import { keyLine, type Device } from '../registry/device.ts'
import type { Registry } from '../registry/registry.ts'
import { ALL_PROJECTS } from '../tokens/token.ts'
import { actorOf, principalOf } from './access.ts'
import type { Api } from './schema.ts'

export interface ChangeAuditDeps {
  ledger: Pick<Ledger, 'note'>
  registry: Pick<Registry, 'get'>
  log: Log
}

/** By operation. */
const TYPES: Record<string, string> = {
  createDevice: 'device.created',
  changeDevice: 'device.changed',
  removeDevice: 'device.removed',
  addDeviceKey: 'device.key-added',
  removeDeviceKey: 'device.key-removed',
  importDevices: 'device.imported',
  createToken: 'token.created',
  revokeToken: 'token.revoked',
}

/** For every route that is registered on `api` afterwards. */
export function auditChanges(api: Api, { ledger, registry, log }: ChangeAuditDeps): void {
  const before = new WeakMap<FastifyRequest, object | undefined>()

  api.addHook('preHandler', async (request) => {
    const type = typeOf(request)
    const device = deviceOf(request)
    if (type === undefined || device === undefined) return
    before.set(request, shown(await registry.get(projectOf(request), device).catch(() => undefined)))
  })

  api.addHook('onSend', async (request, reply) => {
    const type = typeOf(request)
    if (type === undefined || reply.statusCode >= 300) return
    const project = projectOf(request)
    const device = deviceOf(request)
    try {
      const was = before.get(request)
      const is = device === undefined ? undefined : shown(await registry.get(project, device))
      await ledger.note({
        project,
        type,
        by: actorOf(request),
        ...(device === undefined ? {} : { device }),
        ...(was === undefined ? {} : { before: was }),
        ...(is === undefined ? aboutToken(request) : { after: is }),
      })
    } catch (error) {
      // It is done and cannot be taken back.
      log.error({ err: errorText(error), type, device }, 'a change could not be written into the audit')
    }
  })
}

function typeOf(request: FastifyRequest): string | undefined {
  const { operationId = '' } = (request.routeOptions.schema ?? {}) as { operationId?: string }
  return TYPES[operationId]
}

/** As asked for: by id, or by MAC. */
function deviceOf(request: FastifyRequest): string | undefined {
  if (!request.url.startsWith('/devices')) return undefined
  const { id } = { ...bodyOf(request), ...(request.params as object) } as {
    id?: unknown
  }
  return typeof id === 'string' ? id : undefined
}

function projectOf(request: FastifyRequest): string {
  const { project } = principalOf(request)
  if (project !== ALL_PROJECTS) return project
  const asked = { ...bodyOf(request), ...(request.query as object) } as {
    project?: unknown
  }
  return typeof asked.project === 'string' && asked.project !== ALL_PROJECTS ? asked.project : DEFAULT_PROJECT
}

/** What was asked of a token has no secret in it. */
function aboutToken(request: FastifyRequest): { after?: object; before?: object } {
  if (!request.url.startsWith('/tokens')) return {}
  const { id } = request.params as { id?: string }
  return id === undefined ? { after: bodyOf(request) } : { before: { id } }
}

/** What an import brings is lines, not fields. */
function bodyOf({ body }: FastifyRequest): object {
  const isFields = typeof body === 'object' && body !== null && !Array.isArray(body) && !Buffer.isBuffer(body)
  return isFields ? body : {}
}

function shown(device: Device | undefined): object | undefined {
  if (!device) return undefined
  const { project: _project, createdAt: _createdAt, source: _source, keys, ...rest } = device
  return { ...rest, keys: keys.map(keyLine) }
}
