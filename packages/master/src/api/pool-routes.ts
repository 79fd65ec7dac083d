// `/pools`: sets of targets that are granted together; members by hand, by a selector, or both.
import { Type, type Static } from 'typebox'

import type { Pool } from '../access/pool.ts'
import { MAX_MEMBERS } from '../access/pools.ts'
import { timeText } from '../time-text.ts'
import { actorOf, oneProject, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { DEFAULT_LIMIT, Next, nullable, PageQuery } from './paging.ts'
import { errors, type Api } from './schema.ts'
import { CutBody } from './user-routes.ts'

const strict = { additionalProperties: false }

const SelectorBody = Type.Object(
  {
    region: Type.Optional(Type.String({ maxLength: 63 })),
    details: Type.Optional(
      Type.Record(
        Type.String({ maxLength: 255 }),
        Type.Union([Type.String({ maxLength: 1_024 }), Type.Number(), Type.Boolean()]),
        { description: 'What the hook says of a device; compared as text.' },
      ),
    ),
  },
  strict,
)

const PoolBody = Type.Object({
  id: Type.String(),
  project: Type.String(),
  name: Type.String(),
  title: nullable(Type.String()),
  selector: nullable(SelectorBody),
  members: Type.Array(Type.String(), {
    description: 'By hand, the first of them in the order of their names; `GET /targets?pool=` has all.',
  }),
  more: Type.Boolean({ description: 'There are more members by hand.' }),
  createdAt: Type.String(),
})

const Name = Type.String({ maxLength: 63 })
const Title = Type.String({ maxLength: 255 })
const TargetName = Type.String({ maxLength: 63, description: 'The name or the UUID of a target.' })

const NewPoolBody = Type.Object(
  {
    name: Name,
    title: Type.Optional(Title),
    members: Type.Optional(Type.Array(TargetName, { maxItems: MAX_MEMBERS })),
    selector: Type.Optional(SelectorBody),
    users: Type.Optional(
      Type.Array(Type.String({ maxLength: 255 }), { maxItems: 1_000, description: 'Who may reach it.' }),
    ),
  },
  strict,
)

const PoolChangeBody = Type.Object(
  { title: Type.Optional(nullable(Title)), selector: Type.Optional(nullable(SelectorBody)) },
  strict,
)

const PoolParams = Type.Object({ pool: Type.String({ maxLength: 63 }) })
const MemberParams = Type.Object({ ...PoolParams.properties, target: TargetName })
const Project = Type.Object(ProjectQuery)
/** In a list the pools count, not what is in them. */
const SHOWN_IN_LISTS = 100

export async function poolRoutes(api: Api, { access }: ApiDeps): Promise<void> {
  const { pools, directory } = access
  const config = { access: 'admin' } as const
  const tags = ['pools']

  const view = async (pool: Pool, shown = MAX_MEMBERS): Promise<Static<typeof PoolBody>> => {
    const { id, project, name, title, selector, createdAt } = pool
    const { records: members, next } = await directory.members(pool, undefined, shown)
    return {
      id,
      project,
      name,
      title: title ?? null,
      selector: selector ?? null,
      members,
      more: next !== null,
      createdAt: timeText(createdAt),
    }
  }

  api.post(
    '/pools',
    {
      config,
      schema: {
        operationId: 'createPool',
        tags,
        summary: 'Make a pool, with members and with people who may reach it',
        querystring: Project,
        body: NewPoolBody,
        response: { 201: PoolBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      return reply.code(201).send(await view(await pools.create(project, request.body, actorOf(request))))
    },
  )

  api.get(
    '/pools',
    {
      config,
      schema: {
        operationId: 'listPools',
        tags,
        summary: `Pools, a page at a time, each with its first ${SHOWN_IN_LISTS} members`,
        querystring: Type.Object({ ...PageQuery, ...ProjectQuery }),
        response: {
          200: Type.Object({ pools: Type.Array(PoolBody), next: Next }),
          ...errors(400, 401, 403, 503),
        },
      },
    },
    async (request) => {
      const { project, cursor, limit = DEFAULT_LIMIT } = request.query
      const page = await pools.list(oneProject(request, project), cursor, limit)
      return {
        pools: await Promise.all(page.records.map((pool) => view(pool, SHOWN_IN_LISTS))),
        next: page.next,
      }
    },
  )

  api.get(
    '/pools/:pool',
    {
      config,
      schema: {
        operationId: 'getPool',
        tags,
        summary: 'A pool and its members by hand',
        params: PoolParams,
        querystring: Project,
        response: { 200: PoolBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => view(await pools.get(oneProject(request, request.query.project), request.params.pool)),
  )

  api.patch(
    '/pools/:pool',
    {
      config,
      schema: {
        operationId: 'changePool',
        tags,
        summary: 'Change title or selector; null takes it away. Visits that nothing else allows are cut',
        params: PoolParams,
        querystring: Project,
        body: PoolChangeBody,
        response: { 200: PoolBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return view(await pools.change(project, request.params.pool, request.body, actorOf(request)))
    },
  )

  api.delete(
    '/pools/:pool',
    {
      config,
      schema: {
        operationId: 'removePool',
        tags,
        summary: 'Remove a pool and its grants; visits that nothing else allows are cut',
        params: PoolParams,
        querystring: Project,
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return { cut: await pools.remove(project, request.params.pool, actorOf(request)) }
    },
  )

  api.post(
    '/pools/:pool/members',
    {
      config,
      schema: {
        operationId: 'addPoolMember',
        tags,
        summary: 'Put a target into a pool; one that is there already changes nothing',
        params: PoolParams,
        querystring: Project,
        body: Type.Object({ target: TargetName }, strict),
        response: { 201: PoolBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      const { pool } = request.params
      const changed = await pools.addMember(project, pool, request.body.target, actorOf(request))
      return reply.code(201).send(await view(changed, SHOWN_IN_LISTS))
    },
  )

  api.delete(
    '/pools/:pool/members/:target',
    {
      config,
      schema: {
        operationId: 'removePoolMember',
        tags,
        summary: 'Take a target out of a pool; visits that nothing else allows are cut',
        params: MemberParams,
        querystring: Project,
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      const { pool, target } = request.params
      return { cut: await pools.removeMember(project, pool, target, actorOf(request)) }
    },
  )
}
