// `/grants`: who may reach which pool or target, by which ports or forwards, as which account, until when.
import { Type, type Static } from 'typebox'

import type { Grant } from '../access/grant.ts'
import { userRef, type User } from '../access/user.ts'
import { timeText } from '../time-text.ts'
import { actorOf, oneProject, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { DEFAULT_LIMIT, Next, nullable, PageQuery } from './paging.ts'
import { errors, type Api } from './schema.ts'
import { CutBody } from './user-routes.ts'

const GrantBody = Type.Object({
  id: Type.String(),
  project: Type.String(),
  user: Type.String({ description: 'The id.' }),
  login: nullable(Type.String()),
  pool: nullable(Type.String()),
  target: nullable(Type.String()),
  account: nullable(Type.String()),
  forwards: Type.Array(Type.String()),
  until: nullable(Type.String()),
  createdAt: Type.String(),
})

const settings = {
  account: Type.String({ maxLength: 64, description: 'The account on the target; a configuration says it.' }),
  forwards: Type.Array(Type.String({ maxLength: 63 }), {
    maxItems: 64,
    description: 'Ports, names of forwards, or `*`; default: 22.',
  }),
  until: Type.String({ maxLength: 60, description: 'RFC 3339; default: without end.' }),
}
const strict = { additionalProperties: false }

const NewGrantBody = Type.Object(
  {
    user: Type.String({ maxLength: 255, description: 'The id, the login or the e-mail.' }),
    pool: Type.Optional(Type.String({ maxLength: 63 })),
    target: Type.Optional(Type.String({ maxLength: 63, description: 'The name or the UUID.' })),
    account: Type.Optional(settings.account),
    forwards: Type.Optional(settings.forwards),
    until: Type.Optional(settings.until),
  },
  strict,
)

const GrantChangeBody = Type.Object(
  {
    account: Type.Optional(nullable(settings.account)),
    forwards: Type.Optional(settings.forwards),
    until: Type.Optional(nullable(settings.until)),
  },
  strict,
)

const GrantParams = Type.Object({ id: Type.String({ maxLength: 100 }) })
const Project = Type.Object(ProjectQuery)

export async function grantRoutes(api: Api, { access, store }: ApiDeps): Promise<void> {
  const { grants } = access
  const config = { access: 'admin' } as const
  const tags = ['grants']

  const view = async (grant: Grant): Promise<Static<typeof GrantBody>> => {
    const { id, project, user, on, account, forwards, until, createdAt } = grant
    const found = await store.get<User>(userRef(project, user))
    return {
      id,
      project,
      user,
      login: found?.value.login ?? null,
      pool: on.kind === 'pool' ? on.name : null,
      target: on.kind === 'target' ? on.name : null,
      account: account ?? null,
      forwards,
      until: until === undefined ? null : timeText(until),
      createdAt: timeText(createdAt),
    }
  }

  api.post(
    '/grants',
    {
      config,
      schema: {
        operationId: 'createGrant',
        tags,
        summary: 'Let a person reach a pool or a target',
        querystring: Project,
        body: NewGrantBody,
        response: { 201: GrantBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      return reply.code(201).send(await view(await grants.create(project, request.body, actorOf(request))))
    },
  )

  api.get(
    '/grants',
    {
      config,
      schema: {
        operationId: 'listGrants',
        tags,
        summary: 'Who may reach what, a page at a time',
        querystring: Type.Object({
          user: Type.Optional(Type.String({ maxLength: 255 })),
          pool: Type.Optional(Type.String({ maxLength: 63 })),
          target: Type.Optional(
            Type.String({ maxLength: 63, description: 'Granted itself, not by a pool.' }),
          ),
          ...PageQuery,
          ...ProjectQuery,
        }),
        response: {
          200: Type.Object({ grants: Type.Array(GrantBody), next: Next }),
          ...errors(400, 401, 403, 404, 503),
        },
      },
    },
    async (request) => {
      const { project, limit = DEFAULT_LIMIT, ...filter } = request.query
      const page = await grants.list(oneProject(request, project), { ...filter, limit })
      return { grants: await Promise.all(page.records.map(view)), next: page.next }
    },
  )

  api.get(
    '/grants/:id',
    {
      config,
      schema: {
        operationId: 'getGrant',
        tags,
        summary: 'One grant',
        params: GrantParams,
        querystring: Project,
        response: { 200: GrantBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => view(await grants.get(oneProject(request, request.query.project), request.params.id)),
  )

  api.patch(
    '/grants/:id',
    {
      config,
      schema: {
        operationId: 'changeGrant',
        tags,
        summary: 'Change account, forwards or end; null takes account or end away',
        params: GrantParams,
        querystring: Project,
        body: GrantChangeBody,
        response: { 200: GrantBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return view(await grants.change(project, request.params.id, request.body, actorOf(request)))
    },
  )

  api.delete(
    '/grants/:id',
    {
      config,
      schema: {
        operationId: 'removeGrant',
        tags,
        summary: 'Take a grant away; visits that no other grant allows are cut',
        params: GrantParams,
        querystring: Project,
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return { cut: await grants.remove(project, request.params.id, actorOf(request)) }
    },
  )
}
