// `/ssh-config`: what a person's own ssh must know. A token of role user gets its own, an admin names whose.
import { SshoalError } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'

import type { User } from '../access/user.ts'
import { mayActAs } from '../tokens/token.ts'
import { oneProject, principalOf, ProjectQuery } from './access.ts'
import { askedHost } from './asked-host.ts'
import type { ApiDeps } from './build-api.ts'
import { errors, textAnswer, type Api } from './schema.ts'

const SshConfigBody = Type.Object({
  config: Type.String({ description: 'A block for each gate and each target.' }),
  knownHosts: Type.String({ description: 'The host keys that are pinned.' }),
  gate: Type.Object({
    name: Type.String({ description: 'What the config calls the gate.' }),
    host: Type.String(),
    port: Type.Integer(),
  }),
})

export async function sshConfigRoutes(api: Api, { access }: ApiDeps): Promise<void> {
  api.get(
    '/ssh-config',
    {
      config: { access: 'user' },
      schema: {
        operationId: 'getSshConfig',
        tags: ['access'],
        summary: 'A configuration for ssh with the targets of a person; with `Accept: text/plain` that alone',
        querystring: Type.Object({
          user: Type.Optional(
            Type.String({
              maxLength: 255,
              description: 'For admins: whose; the id, the login or the e-mail.',
            }),
          ),
          gate: Type.Optional(
            Type.String({ maxLength: 63, description: 'Only what is reached by this gate.' }),
          ),
          ...ProjectQuery,
        }),
        response: {
          200: textAnswer('The configuration.', 'text/plain', SshConfigBody),
          ...errors(400, 401, 403, 404, 503),
        },
      },
    },
    async (request, reply) => {
      const { user: asked, gate, project } = request.query
      const user = await whose(request, asked, project)
      const answer = await access.sshConfig.of(user, {
        askedHost: askedHost(request),
        ...(gate === undefined ? {} : { gateName: gate }),
      })
      reply.header('cache-control', 'no-store')
      const { accept = '' } = request.headers
      if (!accept.includes('text/plain') || accept.includes('application/json')) return reply.send(answer)
      // Past the JSON serializer of the schema, which texts do not go through.
      return reply.type('text/plain; charset=utf-8').serializer(String).send(answer.config)
    },
  )

  async function whose(
    request: FastifyRequest,
    asked: string | undefined,
    askedProject: string | undefined,
  ): Promise<User> {
    const { role, user: own } = principalOf(request)
    const project = oneProject(request, askedProject)
    if (mayActAs(role, 'admin')) {
      if (asked === undefined)
        throw new SshoalError(
          'INVALID_QUERY',
          'the query is wrong: user says whose configuration it shall be',
        )
      return access.users.get(project, asked)
    }
    if (own === undefined)
      throw new SshoalError('FORBIDDEN', 'this token is nobody’s; ask for one of your own')
    const user = await access.users.get(project, own)
    if (asked !== undefined && ![user.id, user.login, user.email.toLowerCase()].includes(asked.toLowerCase()))
      throw new SshoalError('FORBIDDEN', 'your token shows your own targets alone')
    return user
  }
}
