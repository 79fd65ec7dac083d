// What one does to devices that live: end a tunnel, ask the hook again. Works for devices that only the hook knows.
import { parsePublicKeyLine, SshoalError } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'

import type { TunnelView } from '../cluster/cluster.ts'
import type { Device } from '../registry/device.ts'
import { oneProject, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { errors, type Api } from './schema.ts'

const DeviceParams = Type.Object({ id: Type.String({ maxLength: 255 }) })
const CutBody = Type.Object({ cut: Type.Integer({ description: 'Live tunnels that were cut.' }) })

interface Found {
  project: string
  id: string
  device: Device | undefined
  tunnel: TunnelView | undefined
}

export async function deviceActionRoutes(api: Api, { registry, cluster }: ApiDeps): Promise<void> {
  const config = { access: 'admin' } as const
  const tags = ['devices']

  api.post(
    '/devices/:id/kick',
    {
      config,
      schema: {
        operationId: 'kickDevice',
        tags,
        summary: 'End a device’s tunnel; it may come back',
        params: DeviceParams,
        querystring: Type.Object(ProjectQuery),
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request) => {
      const { project, id } = await find(request, request.params.id, request.query.project)
      const kicked = await cluster.kick({ project, device: id }, 'an operator ended this connection')
      if (!kicked) throw new SshoalError('NOT_CONNECTED', `device "${id}" has no tunnel at the moment`)
      return { cut: 1 }
    },
  )

  api.post(
    '/devices/:id/recheck',
    {
      config,
      schema: {
        operationId: 'recheckDevice',
        tags,
        summary: 'Ask the hook again about a device’s keys, and cut what is now refused',
        params: DeviceParams,
        querystring: Type.Object(ProjectQuery),
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const { device, tunnel } = await find(request, request.params.id, request.query.project)
      const fingerprints = new Set(device?.keys.map(({ fingerprint }) => fingerprint))
      if (tunnel) fingerprints.add(tunnel.fingerprint)
      return { cut: fingerprints.size === 0 ? 0 : await cluster.invalidate([...fingerprints]) }
    },
  )

  api.post(
    '/recheck',
    {
      config,
      schema: {
        operationId: 'recheckKeys',
        tags,
        summary: 'Drop cached answers about keys everywhere, ask the hook again, cut what is now refused',
        body: Type.Object(
          {
            keys: Type.Array(Type.String({ maxLength: 16_384 }), {
              minItems: 1,
              maxItems: 10_000,
              description: 'Fingerprints (`SHA256:…`) or OpenSSH public key lines.',
            }),
          },
          { additionalProperties: false },
        ),
        response: { 200: CutBody, ...errors(400, 401, 403) },
      },
    },
    async (request) => ({
      cut: await cluster.invalidate([...new Set(request.body.keys.map(readFingerprint))]),
    }),
  )

  /** Throws UNKNOWN_DEVICE for one that neither the registry nor the cluster knows. */
  async function find(request: FastifyRequest, id: string, asked: string | undefined): Promise<Found> {
    const project = oneProject(request, asked)
    const device = await registry.get(project, id)
    const tunnel = cluster.tunnelOf({ project, device: device?.id ?? id })
    if (!device && !tunnel) throw new SshoalError('UNKNOWN_DEVICE', `there is no device "${id}" here`)
    return { project, id: device?.id ?? id, device, tunnel }
  }
}

function readFingerprint(key: string): string {
  return /^SHA256:[A-Za-z0-9+/]{43}$/.test(key) ? key : parsePublicKeyLine(key).fingerprint
}
