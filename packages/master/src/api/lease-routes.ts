// `/leases`: a key and a port for one device, for a limited time. What a lease is and who may hold what is the leases' matter.
import { SshoalError } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'

import type { Lease } from '../leases/lease.ts'
import { oneProject, principalOf, projectFilter, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import {
  IssuedBody,
  LeaseWithWay,
  requirePrivacy,
  viewLease,
  wayTo,
  type LeaseWithWay as LeaseView,
} from './lease-view.ts'
import { errors, type Api } from './schema.ts'

const Timeout = Type.Union([Type.Integer(), Type.String({ maxLength: 30 })], {
  description: 'Milliseconds, or a duration such as `30m`; at most --lease-max.',
})
const Params = Type.Object({ id: Type.String({ maxLength: 100 }) })
const Project = Type.Object(ProjectQuery)

const RequestBody = Type.Object(
  {
    device: Type.Optional(
      Type.String({ minLength: 1, maxLength: 128, description: 'The id, or a MAC in any spelling.' }),
    ),
    macaddress: Type.Optional(
      Type.String({ maxLength: 60, description: 'In place of `device`; an unknown one becomes a device.' }),
    ),
    timeout: Timeout,
    port: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 65_535,
        description: 'Exactly this one; default: any that is free.',
      }),
    ),
    publicKey: Type.Optional(
      Type.String({ maxLength: 16_384, description: 'An OpenSSH line; then no private key is made here.' }),
    ),
    region: Type.Optional(
      Type.String({ minLength: 1, maxLength: 63, description: 'Default: the device’s, or any.' }),
    ),
    type: Type.Optional(
      Type.Union([Type.Literal('ed25519'), Type.Literal('rsa')], {
        description: 'Of the key that is made; `rsa` (2048 bits, PEM) for old clients.',
      }),
    ),
  },
  { additionalProperties: false },
)

export async function leaseRoutes(api: Api, deps: ApiDeps): Promise<void> {
  const { leases, cluster } = deps
  const config = { access: 'integrator' } as const
  const tags = ['leases']

  const view = (lease: Lease, request: FastifyRequest): LeaseView => {
    const { project, device, id } = lease
    const slave = leases.slaveOf(lease)
    const connected = cluster.tunnelOf({ project, device, lease: id }) !== undefined
    const body = viewLease(lease, { state: leases.stateOf(lease), now: leases.now(), connected })
    return slave ? { ...body, ...wayTo(lease, slave, request) } : body
  }

  api.post(
    '/leases',
    {
      config,
      schema: {
        operationId: 'createLease',
        tags,
        summary: 'A key and a port for one device, usable when the answer is there; replaces its older lease',
        querystring: Project,
        body: RequestBody,
        response: { 201: IssuedBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const { body } = request
      const project = oneProject(request, request.query.project)
      if (body.publicKey === undefined) requirePrivacy(request)
      else if (body.type !== undefined)
        throw new SshoalError('INVALID_BODY', 'the body is wrong: type is for keys that are made here')
      const { lease, privateKey } = await leases.request(project, {
        ...body,
        issuedBy: principalOf(request).tokenId,
      })
      const slave = leases.slaveOf(lease)
      if (!slave) throw new SshoalError('NO_SLAVE', 'the slave of the lease was lost just now; ask again')
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({
          ...view(lease, request),
          ...wayTo(lease, slave, request),
          ...(privateKey === undefined ? {} : { privateKey }),
        })
    },
  )

  api.get(
    '/leases',
    {
      config,
      schema: {
        operationId: 'listLeases',
        tags,
        summary: 'The leases that stand, a page at a time',
        querystring: Type.Object({
          device: Type.Optional(Type.String({ maxLength: 128 })),
          slave: Type.Optional(Type.String({ maxLength: 255 })),
          cursor: Type.Optional(Type.String({ maxLength: 2_048 })),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })),
          ...ProjectQuery,
        }),
        response: {
          200: Type.Object({
            leases: Type.Array(LeaseWithWay),
            next: Type.Union([Type.String(), Type.Null()]),
          }),
          ...errors(400, 401, 403, 503),
        },
      },
    },
    async (request) => {
      const { project: asked, limit = 100, ...filter } = request.query
      const page = await leases.list({ ...filter, limit, project: projectFilter(request, asked) })
      return { leases: page.leases.map((lease) => view(lease, request)), next: page.next }
    },
  )

  api.get(
    '/leases/:id',
    {
      config,
      schema: {
        operationId: 'getLease',
        tags,
        summary: 'A lease, without its private key, which nobody has but its device',
        params: Params,
        querystring: Project,
        response: { 200: LeaseWithWay, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) =>
      view(await leases.get(projectFilter(request, request.query.project), request.params.id), request),
  )

  api.patch(
    '/leases/:id',
    {
      config,
      schema: {
        operationId: 'extendLease',
        tags,
        summary: 'Give a lease another time, from now on',
        params: Params,
        querystring: Project,
        body: Type.Object({ timeout: Timeout }, { additionalProperties: false }),
        response: { 200: LeaseWithWay, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const project = projectFilter(request, request.query.project)
      const by = principalOf(request).tokenId
      return view(await leases.extend(project, request.params.id, request.body.timeout, by), request)
    },
  )

  api.delete(
    '/leases/:id',
    {
      config,
      schema: {
        operationId: 'revokeLease',
        tags,
        summary: 'End a lease now: its key is refused, its tunnel cut, its port free',
        params: Params,
        querystring: Project,
        response: {
          200: Type.Object({ cut: Type.Integer({ description: 'Live tunnels that were cut.' }) }),
          ...errors(400, 401, 403, 404, 503),
        },
      },
    },
    async (request) => {
      const project = projectFilter(request, request.query.project)
      const cut = await leases.revoke(project, request.params.id, principalOf(request).tokenId)
      return { cut: cut ? 1 : 0 }
    },
  )
}
