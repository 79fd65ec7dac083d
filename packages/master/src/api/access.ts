// Who may call a route, and in which project. A route of ours that does not say who may call it cannot be registered.
import { DEFAULT_PROJECT, SshoalError } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'

import type { Actor } from '../access/ledger.ts'
import { ALL_PROJECTS, mayActAs, type Principal, type Role } from '../tokens/token.ts'
import type { Tokens } from '../tokens/tokens.ts'
import type { Api } from './schema.ts'

export type Access = Role | 'anyone'

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
  interface FastifyRequest {
    /** Set on every route that is not for anyone. */
    principal: Principal | null
  }
}

/** What every route of a project takes: a token for all projects says which one it means. */
export const ProjectQuery = {
  project: Type.Optional(
    Type.String({ pattern: '^[a-z0-9-]{1,63}$', description: 'For tokens that span all projects.' }),
  ),
}

/** Guards every route that is registered on `api` afterwards. */
export function guard(api: Api, tokens: Pick<Tokens, 'check'>): void {
  api.decorateRequest('principal', null)
  api.addHook('onRoute', (route) => {
    if (route.config?.access === undefined)
      throw new SshoalError(
        'NO_ACCESS_RULE',
        `${String(route.method)} ${route.url} does not say who may call it`,
      )
  })
  api.addHook('onRequest', async (request) => {
    const { access } = request.routeOptions.config
    if (access === 'anyone') return
    const principal = await authenticate(request, tokens)
    if (access === undefined || !mayActAs(principal.role, access))
      throw new SshoalError(
        'FORBIDDEN',
        `this needs a token of role ${access ?? '?'}, yours is ${principal.role}`,
      )
    request.principal = principal
  })
}

/** Throws UNAUTHORIZED. */
export async function authenticate(
  request: FastifyRequest,
  tokens: Pick<Tokens, 'check'>,
): Promise<Principal> {
  const text = bearerOf(request)
  if (text === undefined)
    throw new SshoalError('UNAUTHORIZED', 'send a token in the header: Authorization: Bearer TOKEN')
  const principal = await tokens.check(text)
  if (!principal) throw new SshoalError('UNAUTHORIZED', 'the token is not known, revoked, or past its end')
  return principal
}

export function bearerOf(request: FastifyRequest): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1]
}

/** The caller; on a route for anyone there is none, which is a fault of that route. */
export function principalOf(request: FastifyRequest): Principal {
  if (!request.principal) throw new SshoalError('NO_ACCESS_RULE', 'a route for anyone asked who calls')
  return request.principal
}

/** Whom the audit names for a change. */
export function actorOf(request: FastifyRequest): Actor {
  const { tokenId, label } = principalOf(request)
  return { token: tokenId, label }
}

/** For lists: undefined means all projects. Throws FORBIDDEN for a project that is not the caller's. */
export function projectFilter(request: FastifyRequest, asked: string | undefined): string | undefined {
  const { project } = principalOf(request)
  if (project === ALL_PROJECTS) return asked
  if (asked !== undefined && asked !== project)
    throw new SshoalError('FORBIDDEN', `your token belongs to project ${project}`)
  return project
}

/** For one thing: a token for all projects means `default` where it does not say. Throws FORBIDDEN. */
export function oneProject(request: FastifyRequest, asked: string | undefined): string {
  return projectFilter(request, asked) ?? DEFAULT_PROJECT
}

/** For what all projects share. Throws FORBIDDEN. */
export function requireAllProjects(request: FastifyRequest): void {
  if (principalOf(request).project !== ALL_PROJECTS)
    throw new SshoalError('FORBIDDEN', 'this concerns all projects; it needs a token that spans them')
}
