// The live cluster, to look at and to empty a slave. Everything comes from the cluster's memory; nothing is counted here.
import { Type } from 'typebox'

import { principalOf, projectFilter, ProjectQuery, requireAllProjects } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { errors, type Api } from './schema.ts'
import { TunnelBody } from './tunnel-body.ts'

const SlaveBody = Type.Object({
  id: Type.String(),
  publicHost: Type.String(),
  publicPort: Type.Integer(),
  region: Type.Union([Type.String(), Type.Null()]),
  state: Type.Union([Type.Literal('ready'), Type.Literal('stale'), Type.Literal('draining')]),
  tunnels: Type.Integer(),
  reserved: Type.Integer({ description: 'Slots that were given and not yet used or expired.' }),
  capacity: Type.Integer(),
  load: Type.Number({ description: 'Share of one core, 0 to 1.' }),
  version: Type.String(),
  uptimeSeconds: Type.Integer(),
  addresses: Type.Array(Type.String()),
  registeredAt: Type.String(),
})

const ClusterBody = Type.Object({
  masters: Type.Array(
    Type.Object({ id: Type.String(), version: Type.String(), uptimeSeconds: Type.Integer() }),
  ),
  slaves: Type.Array(SlaveBody),
  totals: Type.Object({ slaves: Type.Integer(), tunnels: Type.Integer(), reserved: Type.Integer() }),
})

const TunnelsQuery = Type.Object({
  device: Type.Optional(Type.String({ maxLength: 255 })),
  slave: Type.Optional(Type.String({ maxLength: 255 })),
  region: Type.Optional(Type.String({ maxLength: 63 })),
  cursor: Type.Optional(Type.String({ maxLength: 2_048 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })),
  ...ProjectQuery,
})

export async function clusterRoutes(api: Api, { cluster, log }: ApiDeps): Promise<void> {
  api.get(
    '/cluster',
    {
      config: { access: 'operator' },
      schema: {
        operationId: 'getCluster',
        tags: ['cluster'],
        summary: 'Masters, slaves and totals; costs the same at any number of tunnels',
        querystring: Type.Object(ProjectQuery),
        response: { 200: ClusterBody, ...errors(400, 401, 403) },
      },
    },
    async (request) => {
      const view = cluster.view()
      const project = projectFilter(request, request.query.project)
      if (project === undefined) return view
      // The slaves are everybody's; how many tunnels there are in all is not.
      return { ...view, totals: { ...view.totals, tunnels: cluster.count(project) } }
    },
  )

  api.get(
    '/cluster/tunnels',
    {
      config: { access: 'operator' },
      schema: {
        operationId: 'listTunnels',
        tags: ['cluster'],
        summary: 'Live tunnels, a page at a time',
        querystring: TunnelsQuery,
        response: {
          200: Type.Object({
            tunnels: Type.Array(TunnelBody),
            next: Type.Union([Type.String(), Type.Null()]),
          }),
          ...errors(400, 401, 403),
        },
      },
    },
    async (request) => {
      const { project: asked, limit = 100, ...filter } = request.query
      const project = projectFilter(request, asked)
      return cluster.tunnels({ ...filter, limit, ...(project === undefined ? {} : { project }) })
    },
  )

  api.post(
    '/cluster/slaves/:id/drain',
    {
      config: { access: 'admin' },
      schema: {
        operationId: 'drainSlave',
        tags: ['cluster'],
        summary: 'Stop placing on a slave and move its devices away, spread over the time',
        params: Type.Object({ id: Type.String({ maxLength: 255 }) }),
        body: Type.Object(
          { seconds: Type.Integer({ minimum: 0, maximum: 86_400 }) },
          { additionalProperties: false },
        ),
        response: {
          202: Type.Object({ tunnels: Type.Integer({ description: 'How many will move.' }) }),
          ...errors(400, 401, 403, 404),
        },
      },
    },
    async (request, reply) => {
      requireAllProjects(request)
      const { id } = request.params
      const { seconds } = request.body
      log.info({ slave: id, seconds, by: principalOf(request).tokenId }, 'drain asked for')
      return reply.code(202).send(await cluster.drain(id, seconds * 1_000))
    },
  )
}
