// `/audit`: who visited what, and who changed what; newest first.
import { SshoalError } from '@sshoal/shared'
import { Type, type Static } from 'typebox'

import type { AuditRecord } from '../access/audit-record.ts'
import { parseTime, timeText } from '../time-text.ts'
import { oneProject, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { DEFAULT_LIMIT, Next, PageQuery } from './paging.ts'
import { errors, type Api } from './schema.ts'

const Text = Type.Optional(Type.String())

const AuditBody = Type.Object({
  id: Type.String(),
  at: Type.String(),
  type: Type.String({ description: '`visit`, or what was changed: `grant.created`, …' }),
  project: Type.String(),
  by: Type.Optional(Type.String({ description: 'The label of the token that changed it.' })),
  token: Type.Optional(Type.String({ description: 'The id of that token.' })),
  user: Type.Optional(Type.String({ description: 'The login as it was then.' })),
  userId: Text,
  target: Text,
  pool: Text,
  gate: Text,
  grant: Text,
  device: Text,
  fingerprint: Text,
  before: Type.Optional(Type.Unknown()),
  after: Type.Optional(Type.Unknown()),
  visit: Text,
  slave: Text,
  via: Text,
  remoteAddress: Text,
  port: Type.Optional(Type.Integer()),
  forward: Text,
  account: Text,
  endedAt: Type.Optional(Type.String({ description: 'Missing: it stands.' })),
  bytesToTarget: Type.Optional(
    Type.Integer({ description: 'Missing after its end: its slave was lost, and nobody counted.' }),
  ),
  bytesFromTarget: Type.Optional(Type.Integer()),
  reason: Type.Optional(Type.String({ description: 'Why the visit ended.' })),
})
type AuditBody = Static<typeof AuditBody>

export async function auditRoutes(api: Api, { access }: ApiDeps): Promise<void> {
  api.get(
    '/audit',
    {
      config: { access: 'admin' },
      schema: {
        operationId: 'listAudit',
        tags: ['audit'],
        summary: 'Visits and changes, newest first; a page may be short and still have a next one',
        querystring: Type.Object({
          user: Type.Optional(Type.String({ maxLength: 255 })),
          target: Type.Optional(Type.String({ maxLength: 63 })),
          type: Type.Optional(
            Type.String({ maxLength: 63, description: '`visit`, `grant.created`, or all of `grant`.' }),
          ),
          since: Type.Optional(Type.String({ maxLength: 60, description: 'RFC 3339.' })),
          until: Type.Optional(Type.String({ maxLength: 60, description: 'RFC 3339.' })),
          ...PageQuery,
          ...ProjectQuery,
        }),
        response: {
          200: Type.Object({ entries: Type.Array(AuditBody), next: Next }),
          ...errors(400, 401, 403, 503),
        },
      },
    },
    async (request) => {
      const { project: asked, since, until, limit = DEFAULT_LIMIT, user, ...filter } = request.query
      const project = oneProject(request, asked)
      const known = user === undefined ? undefined : await access.users.find(project, user)
      const page = await access.audit.list(project, {
        ...filter,
        limit,
        user,
        userId: known?.id,
        since: readTime(since, 'since'),
        until: readTime(until, 'until'),
      })
      return { entries: page.records.map(viewAudit), next: page.next }
    },
  )
}

function readTime(text: string | undefined, field: string): number | undefined {
  if (text === undefined) return undefined
  const ms = parseTime(text)
  if (ms !== undefined) return ms
  throw new SshoalError(
    'INVALID_QUERY',
    `the query is wrong: ${field} is a time such as 2030-01-31T12:00:00Z`,
  )
}

function viewAudit({ at, by, visit, ...record }: AuditRecord): AuditBody {
  return {
    ...record,
    at: timeText(at),
    ...(by ? { by: by.label, token: by.token } : {}),
    ...(visit ? viewVisit(visit) : {}),
  }
}

function viewVisit({
  id,
  ended,
  process: _process,
  ...visit
}: NonNullable<AuditRecord['visit']>): Partial<AuditBody> {
  const { at, ...more } = ended ?? {}
  return { visit: id, ...visit, ...(at === undefined ? {} : { endedAt: timeText(at), ...more }) }
}
