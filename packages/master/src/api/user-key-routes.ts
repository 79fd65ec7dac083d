// `/users/:user/keys`: the keys of a person, each with a label. What is handed in is a public key, and nothing else is kept.
import { Type } from 'typebox'

import { KeyBody } from '../registry/device-body.ts'
import { actorOf, oneProject, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { nullable } from './paging.ts'
import { errors, type Api } from './schema.ts'
import { CutBody, UserParams } from './user-routes.ts'
import { UserBody, UserKeyBody, viewUser, viewUserKey } from './user-view.ts'

const KeyParams = Type.Object({ ...UserParams.properties, fingerprint: Type.String({ maxLength: 100 }) })
const Project = Type.Object(ProjectQuery)

export async function userKeyRoutes(api: Api, { access }: ApiDeps): Promise<void> {
  const { users } = access
  const config = { access: 'admin' } as const
  const tags = ['users']

  api.get(
    '/users/:user/keys',
    {
      config,
      schema: {
        operationId: 'listUserKeys',
        tags,
        summary: 'The keys of a person',
        params: UserParams,
        querystring: Project,
        response: {
          200: Type.Object({ keys: Type.Array(UserKeyBody) }),
          ...errors(400, 401, 403, 404, 503),
        },
      },
    },
    async (request) => {
      const user = await users.get(oneProject(request, request.query.project), request.params.user)
      return { keys: user.keys.map(viewUserKey) }
    },
  )

  api.post(
    '/users/:user/keys',
    {
      config,
      schema: {
        operationId: 'addUserKey',
        tags,
        summary: 'Give a person another key; one that is there already changes nothing',
        params: UserParams,
        querystring: Project,
        body: KeyBody,
        response: { 201: UserBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      const user = await users.addKey(project, request.params.user, request.body, actorOf(request))
      return reply.code(201).send(viewUser(user))
    },
  )

  api.patch(
    '/users/:user/keys/:fingerprint',
    {
      config,
      schema: {
        operationId: 'labelUserKey',
        tags,
        summary: 'Call a key something else; null takes the label away',
        params: KeyParams,
        querystring: Project,
        body: Type.Object(
          { label: nullable(Type.String({ minLength: 1, maxLength: 255 })) },
          { additionalProperties: false },
        ),
        response: { 200: UserBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      const { user, fingerprint } = request.params
      return viewUser(await users.labelKey(project, user, fingerprint, request.body.label, actorOf(request)))
    },
  )

  api.delete(
    '/users/:user/keys/:fingerprint',
    {
      config,
      schema: {
        operationId: 'removeUserKey',
        tags,
        summary: 'Take a key away; it is refused from now on, and its visits are cut',
        params: KeyParams,
        querystring: Project,
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      const { user, fingerprint } = request.params
      return { cut: await users.removeKey(project, user, fingerprint, actorOf(request)) }
    },
  )
}
