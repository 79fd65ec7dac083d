// What is done by REST to live devices, slaves and the store, in the audit: who, what, what it was before and what after.
// Records write theirs in one step with the change (access/ledger.ts), leases tell of themselves (access/lease-audit.ts);
// these lines are written before the answer leaves.
import { DEFAULT_PROJECT, errorText, type Log } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'

import type { Entry, Ledger } from '../access/ledger.ts'
import type { Store } from '../store/store.ts'
import { ALL_PROJECTS } from '../tokens/token.ts'
import { actorOf, principalOf } from './access.ts'
import type { Api } from './schema.ts'

export interface ChangeAuditDeps {
  ledger: Pick<Ledger, 'note'>
  store: Pick<Store, 'id'>
  log: Log
}

type Told = Pick<Entry, 'device' | 'before' | 'after'>

interface Line {
  type: string
  /** How the thing stands before; undefined: it is not there. */
  before?(request: FastifyRequest): Promise<object | undefined>
  /** What is told of it; `answer`: what the route answers, which may hold a secret. */
  told(request: FastifyRequest, answer: object, before: object | undefined): Told | Promise<Told>
}

const KEYS_SHOWN = 100

/** By operation. An operation that changes something stands here, or in one of the rooms that write their own. */
export function linesOfChanges({ store }: Pick<ChangeAuditDeps, 'store'>) {
  /** It is the same afterwards. */
  const actOnDevice = (type: string): Line => ({
    type,
    told: (request, answer) => ({ device: deviceOf(request), after: answer }),
  })
  const lines: Record<string, Line> = {
    importDevices: { type: 'device.imported', told: (_request, answer) => ({ after: answer }) },
    kickDevice: actOnDevice('device.kicked'),
    recheckDevice: actOnDevice('device.rechecked'),
    recheckKeys: {
      type: 'keys.rechecked',
      told: (request, answer) => {
        const { keys } = request.body as { keys: string[] }
        return { after: { ...answer, asked: keys.length, keys: keys.slice(0, KEYS_SHOWN) } }
      },
    },
    drainSlave: {
      type: 'slave.drain',
      told: (request, answer) => ({ after: { slave: idOf(request), ...fieldsOf(request.body), ...answer } }),
    },
    acceptStore: {
      type: 'store.accepted',
      before: () => Promise.resolve({ id: store.id }),
      told: (_request, answer, before) => both(before, answer),
    },
    importStore: {
      type: 'store.imported',
      before: () => Promise.resolve({ id: store.id }),
      told: (_request, answer, before) => both(before, answer),
    },
  }
  return new Map(Object.entries(lines))
}

/** For every route that is registered on `api` afterwards. */
export function auditChanges(api: Api, { ledger, log, ...deps }: ChangeAuditDeps): void {
  const lines = linesOfChanges(deps)
  const before = new WeakMap<FastifyRequest, object | undefined>()

  api.addHook('preHandler', async (request) => {
    const line = lines.get(operationOf(request))
    if (line?.before) before.set(request, await line.before(request).catch(() => undefined))
  })

  api.addHook('preSerialization', async (request, reply, answer) => {
    const line = lines.get(operationOf(request))
    if (!line || reply.statusCode >= 300) return answer
    const { type } = line
    try {
      const told = await line.told(request, fieldsOf(answer), before.get(request))
      await ledger.note({ project: projectOf(request), type, by: actorOf(request), ...told })
    } catch (error) {
      // It is done and cannot be taken back.
      log.error({ err: errorText(error), type }, 'a change could not be written into the audit')
    }
    return answer
  })
}

function operationOf(request: FastifyRequest): string {
  const { operationId = '' } = (request.routeOptions.schema ?? {}) as { operationId?: string }
  return operationId
}

function both(before: object | undefined, after: object | undefined): Pick<Told, 'before' | 'after'> {
  return { ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) }
}

/** As asked for: by id, or by MAC. */
function deviceOf(request: FastifyRequest): string {
  const { id } = { ...fieldsOf(request.body), ...(request.params as object) } as { id?: unknown }
  return typeof id === 'string' ? id : ''
}

function idOf(request: FastifyRequest): string {
  return (request.params as { id: string }).id
}

function projectOf(request: FastifyRequest): string {
  const { project } = principalOf(request)
  if (project !== ALL_PROJECTS) return project
  const asked = { ...fieldsOf(request.body), ...(request.query as object) } as { project?: unknown }
  return typeof asked.project === 'string' && asked.project !== ALL_PROJECTS ? asked.project : DEFAULT_PROJECT
}

/** What an import brings is lines, not fields. */
function fieldsOf(body: unknown): object {
  const isFields = typeof body === 'object' && body !== null && !Array.isArray(body) && !Buffer.isBuffer(body)
  return isFields ? body : {}
}
