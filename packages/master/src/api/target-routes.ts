// `/targets`: what people can be let to reach. Devices are targets by themselves; hosts are added here; any can be pinned.
import { Type } from 'typebox'

import { actorOf, oneProject, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { DEFAULT_LIMIT, Next, PageQuery } from './paging.ts'
import { errors, type Api } from './schema.ts'
import { NewTargetBody, TargetBody, TargetChangeBody, viewTarget } from './target-view.ts'
import { CutBody } from './user-routes.ts'

const TargetParams = Type.Object({
  target: Type.String({ maxLength: 255, description: 'The name or the UUID.' }),
})
const Project = Type.Object(ProjectQuery)

export async function targetRoutes(api: Api, { access }: ApiDeps): Promise<void> {
  const { targets, traits } = access
  const config = { access: 'admin' } as const
  const tags = ['targets']

  api.post(
    '/targets',
    {
      config,
      schema: {
        operationId: 'createTarget',
        tags,
        summary: 'Add a host that slaves dial; a device is a target by itself',
        querystring: Project,
        body: NewTargetBody,
        response: { 201: TargetBody, ...errors(400, 401, 403, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      const target = await targets.createHost(project, request.body, actorOf(request))
      return reply.code(201).send(await viewTarget(target, traits))
    },
  )

  api.get(
    '/targets',
    {
      config,
      schema: {
        operationId: 'listTargets',
        tags,
        summary: 'Targets by name, a page at a time; a page may be short and still have a next one',
        querystring: Type.Object({
          q: Type.Optional(
            Type.String({ maxLength: 255, description: 'A part of name, UUID, device or address.' }),
          ),
          pool: Type.Optional(Type.String({ maxLength: 63 })),
          gate: Type.Optional(Type.String({ maxLength: 63 })),
          kind: Type.Optional(Type.Union([Type.Literal('device'), Type.Literal('host')])),
          ...PageQuery,
          ...ProjectQuery,
        }),
        response: {
          200: Type.Object({ targets: Type.Array(TargetBody), next: Next }),
          ...errors(400, 401, 403, 404, 503),
        },
      },
    },
    async (request) => {
      const { project, limit = DEFAULT_LIMIT, ...filter } = request.query
      const page = await targets.list(oneProject(request, project), { ...filter, limit })
      const shown = await Promise.all(page.records.map((target) => viewTarget(target, traits)))
      return { targets: shown, next: page.next }
    },
  )

  api.get(
    '/targets/:target',
    {
      config,
      schema: {
        operationId: 'getTarget',
        tags,
        summary: 'A target, where it is, and whether it is there',
        params: TargetParams,
        querystring: Project,
        response: { 200: TargetBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return viewTarget(await targets.get(project, request.params.target), traits)
    },
  )

  api.patch(
    '/targets/:target',
    {
      config,
      schema: {
        operationId: 'changeTarget',
        tags,
        summary: 'Pin host keys; of a host also where it is',
        params: TargetParams,
        querystring: Project,
        body: TargetChangeBody,
        response: { 200: TargetBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      const target = await targets.change(project, request.params.target, request.body, actorOf(request))
      return viewTarget(target, traits)
    },
  )

  api.delete(
    '/targets/:target',
    {
      config,
      schema: {
        operationId: 'removeTarget',
        tags,
        summary: 'Remove a host with its grants and memberships; its visits are cut',
        params: TargetParams,
        querystring: Project,
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return { cut: await targets.remove(project, request.params.target, actorOf(request)) }
    },
  )
}
