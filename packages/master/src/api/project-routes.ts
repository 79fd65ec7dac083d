// `/projects`: tenants. One is there as soon as something is in it; a record says more, and closes it.
import { SshoalError } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'
import { Type, type Static } from 'typebox'

import type { Project } from '../access/projects.ts'
import { actorOf, projectFilter, requireAllProjects } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { Next, nullable, PageQuery } from './paging.ts'
import { errors, type Api } from './schema.ts'

const strict = { additionalProperties: false }
const State = Type.Union([Type.Literal('active'), Type.Literal('closed')], {
  description: '`closed`: nobody of it gets through the gate.',
})
const ProjectBody = Type.Object({
  id: Type.String(),
  name: nullable(Type.String()),
  state: State,
})
const Title = Type.String({ maxLength: 255 })
const ProjectParams = Type.Object({ id: Type.String({ maxLength: 63 }) })

export async function projectRoutes(api: Api, { access }: ApiDeps): Promise<void> {
  const { projects } = access
  const config = { access: 'admin' } as const
  const tags = ['projects']

  api.post(
    '/projects',
    {
      config,
      schema: {
        operationId: 'createProject',
        tags,
        summary: 'Make a record of a project; one without works all the same',
        body: Type.Object(
          {
            id: Type.String({ pattern: '^[a-z0-9-]{1,63}$' }),
            name: Type.Optional(Title),
            state: Type.Optional(State),
          },
          strict,
        ),
        response: { 201: ProjectBody, ...errors(400, 401, 403, 409, 503) },
      },
    },
    async (request, reply) => {
      requireAllProjects(request)
      return reply.code(201).send(viewProject(await projects.create(request.body, actorOf(request))))
    },
  )

  api.get(
    '/projects',
    {
      config,
      schema: {
        operationId: 'listProjects',
        tags,
        summary: 'Projects with a record, and those in which there are people, pools or targets',
        querystring: Type.Object(PageQuery),
        response: {
          200: Type.Object({ projects: Type.Array(ProjectBody), next: Next }),
          ...errors(400, 401, 403, 503),
        },
      },
    },
    async (request) => {
      const own = projectFilter(request, undefined)
      const { cursor, limit = 1_000 } = request.query
      const all = own === undefined ? await projects.list() : [await projects.getOrActive(own)]
      const rest = all.filter(({ id }) => cursor === undefined || id > cursor)
      const shown = rest.slice(0, limit)
      const next = rest.length > shown.length ? (shown.at(-1)?.id ?? null) : null
      return { projects: shown.map(viewProject), next }
    },
  )

  api.get(
    '/projects/:id',
    {
      config,
      schema: {
        operationId: 'getProject',
        tags,
        summary: 'A project',
        params: ProjectParams,
        response: { 200: ProjectBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => viewProject(await projects.get(own(request, request.params.id))),
  )

  api.patch(
    '/projects/:id',
    {
      config,
      schema: {
        operationId: 'changeProject',
        tags,
        summary: 'Name a project, close it, or open it again; closing cuts the visits of its people',
        params: ProjectParams,
        body: Type.Object({ name: Type.Optional(nullable(Title)), state: Type.Optional(State) }, strict),
        response: { 200: ProjectBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) =>
      viewProject(await projects.change(own(request, request.params.id), request.body, actorOf(request))),
  )

  api.delete(
    '/projects/:id',
    {
      config,
      schema: {
        operationId: 'removeProject',
        tags,
        summary: 'Remove the record of a project in which there is nothing',
        params: ProjectParams,
        response: { 204: Type.Null(), ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      requireAllProjects(request)
      await projects.remove(request.params.id, actorOf(request))
      return reply.code(204).send(null)
    },
  )
}

/** Another's is as unknown as one that is not there. */
function own(request: FastifyRequest, id: string): string {
  const project = projectFilter(request, undefined)
  if (project !== undefined && project !== id)
    throw new SshoalError('UNKNOWN_PROJECT', `there is no project ${JSON.stringify(id)} here`)
  return id
}

function viewProject({ id, name, state }: Project): Static<typeof ProjectBody> {
  return { id, name: name ?? null, state }
}
