// A device as REST shows it: what the registry knows, what the cluster sees now, and when it was seen last.
import { formatDuration } from '@sshoal/shared'
import { Type, type Static } from 'typebox'

import type { Cluster } from '../cluster/cluster.ts'
import { keyLine, type Device } from '../registry/device.ts'
import type { Registry } from '../registry/registry.ts'
import { TunnelBody } from './tunnel-body.ts'

export const DeviceBody = Type.Object({
  id: Type.String(),
  project: Type.String(),
  source: Type.Union([Type.Literal('store'), Type.Literal('hook')], {
    description: '`hook`: only the hook knows it; it can be kicked and rechecked, not edited.',
  }),
  name: Type.Optional(Type.String()),
  mac: Type.Optional(Type.String()),
  region: Type.Optional(Type.String()),
  ports: Type.Optional(Type.Array(Type.Integer())),
  keepalive: Type.Optional(Type.String()),
  keys: Type.Array(
    Type.Object({
      fingerprint: Type.String(),
      key: Type.String({ description: 'The OpenSSH line.' }),
      label: Type.Optional(Type.String()),
      addedAt: Type.String(),
    }),
  ),
  createdAt: Type.String(),
  tunnel: Type.Union([TunnelBody, Type.Null()]),
  lastSeen: Type.Union([
    Type.Object({ at: Type.String(), where: Type.String(), why: Type.String() }),
    Type.Null(),
  ]),
})
export type DeviceBody = Static<typeof DeviceBody>

export async function viewDevice(
  device: Device,
  cluster: Pick<Cluster, 'tunnelOf'>,
  registry: Pick<Registry, 'lastSeen'>,
): Promise<DeviceBody> {
  const { keepaliveMs, createdAt, keys, ...rest } = device
  const seen = await registry.lastSeen(device.project, device.id)
  return {
    ...rest,
    ...(keepaliveMs === undefined ? {} : { keepalive: formatDuration(keepaliveMs) }),
    keys: keys.map((key) => ({
      fingerprint: key.fingerprint,
      key: keyLine(key),
      ...(key.label === undefined ? {} : { label: key.label }),
      addedAt: new Date(key.addedAt).toISOString(),
    })),
    createdAt: new Date(createdAt).toISOString(),
    tunnel: cluster.tunnelOf({ project: device.project, device: device.id }) ?? null,
    lastSeen: seen ? { at: new Date(seen.at).toISOString(), where: seen.where, why: seen.why } : null,
  }
}
