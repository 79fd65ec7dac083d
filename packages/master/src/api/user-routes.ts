// `/users`: people, as an admin makes, finds, changes and removes them. Their keys are in user-key-routes.ts.
import { Type } from 'typebox'

import { actorOf, oneProject, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { DEFAULT_LIMIT, Next, PageQuery } from './paging.ts'
import { errors, type Api } from './schema.ts'
import { NewUserBody, UserBody, UserChangeBody, viewUser } from './user-view.ts'

export const UserParams = Type.Object({
  user: Type.String({ maxLength: 255, description: 'The id, the login or the e-mail.' }),
})
const Project = Type.Object(ProjectQuery)
export const CutBody = Type.Object({
  cut: Type.Integer({ description: 'Live tunnels and visits that were cut.' }),
})

export async function userRoutes(api: Api, { access }: ApiDeps): Promise<void> {
  const { users } = access
  const config = { access: 'admin' } as const
  const tags = ['users']

  api.post(
    '/users',
    {
      config,
      schema: {
        operationId: 'createUser',
        tags,
        summary: 'Add a person, with keys and with pools that they may reach',
        querystring: Project,
        body: NewUserBody,
        response: { 201: UserBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      return reply.code(201).send(viewUser(await users.create(project, request.body, actorOf(request))))
    },
  )

  api.get(
    '/users',
    {
      config,
      schema: {
        operationId: 'listUsers',
        tags,
        summary: 'People, a page at a time',
        querystring: Type.Object({ ...PageQuery, ...ProjectQuery }),
        response: {
          200: Type.Object({ users: Type.Array(UserBody), next: Next }),
          ...errors(400, 401, 403, 503),
        },
      },
    },
    async (request) => {
      const { project, cursor, limit = DEFAULT_LIMIT } = request.query
      const page = await users.list(oneProject(request, project), cursor, limit)
      return { users: page.records.map(viewUser), next: page.next }
    },
  )

  api.get(
    '/users/:user',
    {
      config,
      schema: {
        operationId: 'getUser',
        tags,
        summary: 'A person and their keys',
        params: UserParams,
        querystring: Project,
        response: { 200: UserBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) =>
      viewUser(await users.get(oneProject(request, request.query.project), request.params.user)),
  )

  api.patch(
    '/users/:user',
    {
      config,
      schema: {
        operationId: 'changeUser',
        tags,
        summary: 'Change what is said of a person; null takes the name away',
        params: UserParams,
        querystring: Project,
        body: UserChangeBody,
        response: { 200: UserBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return viewUser(await users.change(project, request.params.user, request.body, actorOf(request)))
    },
  )

  api.delete(
    '/users/:user',
    {
      config,
      schema: {
        operationId: 'removeUser',
        tags,
        summary: 'Remove a person with keys, grants and tokens; their visits are cut',
        params: UserParams,
        querystring: Project,
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return { cut: await users.remove(project, request.params.user, actorOf(request)) }
    },
  )

  api.post(
    '/users/:user/revoke',
    {
      config,
      schema: {
        operationId: 'revokeUser',
        tags,
        summary: 'Take all keys of a person away and cut their visits; the grants stay for new keys',
        params: UserParams,
        querystring: Project,
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return { cut: await users.revoke(project, request.params.user, actorOf(request)) }
    },
  )
}
