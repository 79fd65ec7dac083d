// `/gates`: the public names by which people enter, and which targets are reached through which of them alone.
import { Type, type Static } from 'typebox'

import type { Gate } from '../access/gate.ts'
import { timeText } from '../time-text.ts'
import { actorOf, oneProject, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { DEFAULT_LIMIT, Next, nullable, PageQuery } from './paging.ts'
import { errors, type Api } from './schema.ts'
import { TargetBody, viewTarget } from './target-view.ts'

const strict = { additionalProperties: false }

const GateBody = Type.Object({
  id: Type.String(),
  project: Type.String(),
  name: Type.String(),
  host: Type.String(),
  port: Type.Integer(),
  region: nullable(Type.String({ description: 'Whose slaves serve it; null: all do.' })),
  createdAt: Type.String(),
})

const settings = {
  host: Type.String({ maxLength: 253, description: 'The name by which people reach its slaves.' }),
  port: Type.Integer({ minimum: 1, maximum: 65_535, description: 'Default: 22.' }),
  region: Type.String({ maxLength: 63 }),
}

const GateParams = Type.Object({ gate: Type.String({ maxLength: 63 }) })
const TargetName = Type.String({ maxLength: 63, description: 'The name or the UUID of a target.' })
const AttachmentParams = Type.Object({ ...GateParams.properties, target: TargetName })
const Project = Type.Object(ProjectQuery)

export async function gateRoutes(api: Api, { access }: ApiDeps): Promise<void> {
  const { gates, traits } = access
  const config = { access: 'admin' } as const
  const tags = ['gates']

  api.post(
    '/gates',
    {
      config,
      schema: {
        operationId: 'createGate',
        tags,
        summary: 'Make a gate: a public name of the slaves of one region, or of all',
        querystring: Project,
        body: Type.Object(
          {
            name: Type.String({ maxLength: 63 }),
            host: settings.host,
            port: Type.Optional(settings.port),
            region: Type.Optional(settings.region),
          },
          strict,
        ),
        response: { 201: GateBody, ...errors(400, 401, 403, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      return reply.code(201).send(viewGate(await gates.create(project, request.body, actorOf(request))))
    },
  )

  api.get(
    '/gates',
    {
      config,
      schema: {
        operationId: 'listGates',
        tags,
        summary: 'Gates, a page at a time',
        querystring: Type.Object({ ...PageQuery, ...ProjectQuery }),
        response: {
          200: Type.Object({ gates: Type.Array(GateBody), next: Next }),
          ...errors(400, 401, 403, 503),
        },
      },
    },
    async (request) => {
      const { project, cursor, limit = DEFAULT_LIMIT } = request.query
      const page = await gates.list(oneProject(request, project), cursor, limit)
      return { gates: page.records.map(viewGate), next: page.next }
    },
  )

  api.get(
    '/gates/:gate',
    {
      config,
      schema: {
        operationId: 'getGate',
        tags,
        summary: 'A gate; `GET /targets?gate=` has its targets',
        params: GateParams,
        querystring: Project,
        response: { 200: GateBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) =>
      viewGate(await gates.get(oneProject(request, request.query.project), request.params.gate)),
  )

  api.patch(
    '/gates/:gate',
    {
      config,
      schema: {
        operationId: 'changeGate',
        tags,
        summary: 'Change the public name or the region; null takes the region away',
        params: GateParams,
        querystring: Project,
        body: Type.Object(
          {
            host: Type.Optional(settings.host),
            port: Type.Optional(settings.port),
            region: Type.Optional(nullable(settings.region)),
          },
          strict,
        ),
        response: { 200: GateBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return viewGate(await gates.change(project, request.params.gate, request.body, actorOf(request)))
    },
  )

  api.delete(
    '/gates/:gate',
    {
      config,
      schema: {
        operationId: 'removeGate',
        tags,
        summary: 'Remove a gate to which nothing is attached',
        params: GateParams,
        querystring: Project,
        response: { 204: Type.Null(), ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      await gates.remove(project, request.params.gate, actorOf(request))
      return reply.code(204).send(null)
    },
  )

  api.post(
    '/gates/:gate/targets',
    {
      config,
      schema: {
        operationId: 'attachTarget',
        tags,
        summary:
          'Let a target be reached through this gate, and no longer through those to which it is not attached',
        params: GateParams,
        querystring: Project,
        body: Type.Object({ target: TargetName }, strict),
        response: { 201: TargetBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      const target = await gates.attach(project, request.params.gate, request.body.target, actorOf(request))
      return reply.code(201).send(await viewTarget(target, traits))
    },
  )

  api.delete(
    '/gates/:gate/targets/:target',
    {
      config,
      schema: {
        operationId: 'detachTarget',
        tags,
        summary:
          'Let a target no longer be reached through this gate; detached from the last one, it is reached through all',
        params: AttachmentParams,
        querystring: Project,
        response: { 204: Type.Null(), ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      await gates.detach(project, request.params.gate, request.params.target, actorOf(request))
      return reply.code(204).send(null)
    },
  )
}

function viewGate({ id, project, name, host, port, region, createdAt }: Gate): Static<typeof GateBody> {
  return { id, project, name, host, port, region: region ?? null, createdAt: timeText(createdAt) }
}
