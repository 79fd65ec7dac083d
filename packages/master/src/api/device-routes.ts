// `/devices`: the registry over REST. What a device is and what conflicts is the registry's matter; here is only who asks.
import { SshoalError } from '@sshoal/shared'
import { Type } from 'typebox'

import { DeviceChangeBody, KeyBody, NewDeviceBody } from '../registry/device-body.ts'
import type { NewDevice } from '../registry/device.ts'
import { oneProject, projectFilter, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { deviceNote } from './device-note.ts'
import { DeviceBody, viewDevice } from './device-view.ts'
import { errors, type Api } from './schema.ts'

const DeviceParams = Type.Object({
  id: Type.String({ maxLength: 255, description: 'The id, or the MAC in any spelling.' }),
})
const KeyParams = Type.Object({ ...DeviceParams.properties, fingerprint: Type.String({ maxLength: 100 }) })
const Project = Type.Object(ProjectQuery)
const CutBody = Type.Object({ cut: Type.Integer({ description: 'Live tunnels that were cut.' }) })

const CreateBody = Type.Object(
  {
    ...NewDeviceBody.properties,
    refused: Type.Optional(
      Type.String({ maxLength: 100, description: 'Fingerprint from /devices/refused: that key is added.' }),
    ),
  },
  { additionalProperties: false },
)

export async function deviceRoutes(api: Api, deps: ApiDeps): Promise<void> {
  const { registry, refused, access } = deps
  const { ledger } = access
  const config = { access: 'admin' } as const
  const tags = ['devices']

  api.post(
    '/devices',
    {
      config,
      schema: {
        operationId: 'createDevice',
        tags,
        summary: 'Let a device in',
        querystring: Project,
        body: CreateBody,
        response: { 201: DeviceBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      const { refused: fingerprint, ...body } = request.body
      const wanted: NewDevice = { ...body }
      if (fingerprint !== undefined) {
        const key = refused.keyOf(fingerprint, projectFilter(request, request.query.project))
        if (key === undefined)
          throw new SshoalError(
            'UNKNOWN_REFUSED',
            'no key of that fingerprint was refused lately, or it is too weak',
          )
        wanted.keys = [...(wanted.keys ?? []), key]
      }
      const device = await registry.create(
        project,
        wanted,
        deviceNote(ledger, request, project, 'device.created'),
      )
      return reply.code(201).send(await viewDevice(device, deps.cluster, registry))
    },
  )

  api.get(
    '/devices',
    {
      config,
      schema: {
        operationId: 'listDevices',
        tags,
        summary: 'Find devices by a part of id, name, MAC or region, or by a whole fingerprint',
        querystring: Type.Object({
          q: Type.Optional(Type.String({ maxLength: 255 })),
          cursor: Type.Optional(Type.String({ maxLength: 2_048 })),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })),
          ...ProjectQuery,
        }),
        response: {
          200: Type.Object({
            devices: Type.Array(DeviceBody),
            next: Type.Union([Type.String(), Type.Null()]),
          }),
          ...errors(400, 401, 403, 503),
        },
      },
    },
    async (request) => {
      const { project: asked, limit = 100, ...filter } = request.query
      const project = projectFilter(request, asked)
      const page = await registry.list({ ...filter, limit, ...(project === undefined ? {} : { project }) })
      const devices = await Promise.all(
        page.devices.map((device) => viewDevice(device, deps.cluster, registry)),
      )
      return { devices, next: page.next }
    },
  )

  api.get(
    '/devices/:id',
    {
      config,
      schema: {
        operationId: 'getDevice',
        tags,
        summary: 'A device, its live tunnel, and when it was seen last',
        params: DeviceParams,
        querystring: Project,
        response: { 200: DeviceBody, ...errors(400, 401, 403, 404, 503) },
      },
    },
    async (request) => {
      const device = await registry.get(oneProject(request, request.query.project), request.params.id)
      if (!device) throw new SshoalError('UNKNOWN_DEVICE', `there is no device "${request.params.id}" here`)
      return viewDevice(device, deps.cluster, registry)
    },
  )

  api.patch(
    '/devices/:id',
    {
      config,
      schema: {
        operationId: 'changeDevice',
        tags,
        summary: 'Change what is said of a device; null takes a field away',
        params: DeviceParams,
        querystring: Project,
        body: DeviceChangeBody,
        response: { 200: DeviceBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      const device = await registry.change(
        project,
        request.params.id,
        request.body,
        deviceNote(ledger, request, project, 'device.changed'),
      )
      return viewDevice(device, deps.cluster, registry)
    },
  )

  api.delete(
    '/devices/:id',
    {
      config,
      schema: {
        operationId: 'removeDevice',
        tags,
        summary: 'Take a device out: its keys are refused and its tunnel is cut',
        params: DeviceParams,
        querystring: Project,
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      const note = deviceNote(ledger, request, project, 'device.removed')
      return { cut: await registry.remove(project, request.params.id, note) }
    },
  )

  api.post(
    '/devices/:id/keys',
    {
      config,
      schema: {
        operationId: 'addDeviceKey',
        tags,
        summary: 'Give a device another key',
        params: DeviceParams,
        querystring: Project,
        body: KeyBody,
        response: { 201: DeviceBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request, reply) => {
      const project = oneProject(request, request.query.project)
      const device = await registry.addKey(
        project,
        request.params.id,
        request.body,
        deviceNote(ledger, request, project, 'device.key-added'),
      )
      return reply.code(201).send(await viewDevice(device, deps.cluster, registry))
    },
  )

  api.delete(
    '/devices/:id/keys/:fingerprint',
    {
      config,
      schema: {
        operationId: 'removeDeviceKey',
        tags,
        summary: 'Take a key from a device; a tunnel that was opened with it is cut',
        params: KeyParams,
        querystring: Project,
        response: { 200: CutBody, ...errors(400, 401, 403, 404, 409, 503) },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      const { id, fingerprint } = request.params
      const note = deviceNote(ledger, request, project, 'device.key-removed')
      return { cut: await registry.removeKey(project, id, fingerprint, note) }
    },
  )
}
