// `/tokens`: mint, list, revoke. A secret leaves once, in the answer that made it.
import { DEFAULT_PROJECT, SshoalError } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'

import type { Line } from '../access/ledger.ts'
import { parseTime, timeText } from '../time-text.ts'
import { ALL_PROJECTS, ROLES, type Role, type Token } from '../tokens/token.ts'
import { actorOf, oneProject, principalOf, projectFilter, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { errors, type Api } from './schema.ts'

const RoleBody = Type.Unsafe<Role>(Type.Union(ROLES.map((role) => Type.Literal(role))))

const TokenBody = Type.Object({
  id: Type.String(),
  role: RoleBody,
  project: Type.String({ description: '`*`: all.' }),
  label: Type.String(),
  user: Type.Union([Type.String(), Type.Null()], { description: 'Of role user: the id of whose it is.' }),
  createdAt: Type.String(),
  expiresAt: Type.Union([Type.String(), Type.Null()]),
})

export async function tokenRoutes(api: Api, { tokens, access, log }: ApiDeps): Promise<void> {
  const config = { access: 'admin' } as const
  const tags = ['tokens']
  /** In the audit of its project; that of a token for all of them is kept with `default`. */
  const lineOf = (request: FastifyRequest, type: string, { project }: Token, told: object): Line =>
    access.ledger.line({
      project: project === ALL_PROJECTS ? DEFAULT_PROJECT : project,
      type,
      by: actorOf(request),
      ...told,
    })

  api.post(
    '/tokens',
    {
      config,
      schema: {
        operationId: 'createToken',
        tags,
        summary: 'Mint a token; its secret is shown this once',
        querystring: Type.Object(ProjectQuery),
        body: Type.Object(
          {
            role: RoleBody,
            label: Type.Optional(
              Type.String({
                minLength: 1,
                maxLength: 255,
                description: 'What it is for; default: the role.',
              }),
            ),
            project: Type.Optional(
              Type.String({
                pattern: '^([a-z0-9-]{1,63}|\\*)$',
                description: 'Default: the caller’s, or `default`; `*` for admin and slave tokens.',
              }),
            ),
            user: Type.Optional(
              Type.String({
                maxLength: 255,
                description: 'For role user: whose it is; the id, the login or the e-mail.',
              }),
            ),
            expiresAt: Type.Optional(
              Type.String({ maxLength: 60, description: 'RFC 3339; default: never.' }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          201: Type.Object({ ...TokenBody.properties, token: Type.String({ description: 'The secret.' }) }),
          ...errors(400, 401, 403, 404, 503),
        },
      },
    },
    async (request, reply) => {
      const { role, label, expiresAt, user } = request.body
      const endsAt = expiresAt === undefined ? undefined : readTime(expiresAt)
      const project = projectOf(request.body.project ?? request.query.project)
      if ((role === 'user') !== (user !== undefined))
        throw new SshoalError(
          'INVALID_TOKEN_REQUEST',
          role === 'user'
            ? 'a token of role user is somebody’s: say whose in user'
            : 'only role user takes user',
        )
      const owner = user === undefined ? undefined : (await access.users.get(project, user)).id
      const minted = await tokens.mint(
        {
          role,
          label: label ?? role,
          project,
          ...(owner === undefined ? {} : { user: owner }),
          ...(endsAt === undefined ? {} : { expiresAt: endsAt }),
        },
        undefined,
        (token) => lineOf(request, 'token.created', token, { after: token }),
      )
      log.info(
        { id: minted.id, role, project: minted.project, by: principalOf(request).tokenId },
        'token made',
      )
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ ...viewToken(minted), token: minted.secret })

      function projectOf(asked: string | undefined): string {
        if (asked !== ALL_PROJECTS) return oneProject(request, asked)
        if (principalOf(request).project !== ALL_PROJECTS)
          throw new SshoalError('FORBIDDEN', 'a token for all projects is made with a token for all projects')
        return asked
      }
    },
  )

  api.get(
    '/tokens',
    {
      config,
      schema: {
        operationId: 'listTokens',
        tags,
        summary: 'All tokens, without their secrets',
        querystring: Type.Object(ProjectQuery),
        response: { 200: Type.Object({ tokens: Type.Array(TokenBody) }), ...errors(400, 401, 403, 503) },
      },
    },
    async (request) => ({
      tokens: (await tokens.list(projectFilter(request, request.query.project))).map(viewToken),
    }),
  )

  api.delete(
    '/tokens/:id',
    {
      config,
      schema: {
        operationId: 'revokeToken',
        tags,
        summary: 'Revoke a token; what it opened is closed',
        params: Type.Object({ id: Type.String({ maxLength: 100 }) }),
        response: { 204: Type.Null(), ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request, reply) => {
      const { id } = request.params
      const note = (token: Token): Line => lineOf(request, 'token.revoked', token, { before: token })
      if (!(await tokens.revoke(id, projectFilter(request, undefined), note)))
        throw new SshoalError('UNKNOWN_TOKEN', `there is no token ${id}`)
      log.info({ id, by: principalOf(request).tokenId }, 'token revoked')
      return reply.code(204).send(null)
    },
  )
}

function readTime(text: string): number {
  const ms = parseTime(text)
  if (ms === undefined)
    throw new SshoalError('INVALID_TOKEN_REQUEST', `"${text}" is not a time: write 2030-01-31T12:00:00Z`)
  return ms
}

function viewToken({ id, role, project, label, user, createdAt, expiresAt }: Token) {
  return {
    id,
    role,
    project,
    label,
    user: user ?? null,
    createdAt: timeText(createdAt),
    expiresAt: expiresAt === undefined ? null : timeText(expiresAt),
  }
}
