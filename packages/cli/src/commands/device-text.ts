// A device as REST gives it and as people read it.
import { formatFields } from '../table.ts'
import { relativeTime } from '../time-text.ts'
import type { Tunnel } from './tunnels.ts'

export interface DeviceKey {
  fingerprint: string
  algorithm?: string
  label?: string | null
  key?: string
}

export interface Device {
  id: string
  /** `hook`: only the hook knows it. */
  source?: string
  name?: string | null
  mac?: string | null
  region?: string | null
  ports?: number[] | null
  keepalive?: string | number | null
  keys?: DeviceKey[]
  tunnel?: Tunnel | null
  lastSeen?: { at: string | number; where?: string | null; why?: string | null } | null
}

/** `up`, or when it was last here. */
export function seenText(device: Device): string | undefined {
  return device.tunnel ? 'up' : relativeTime(device.lastSeen?.at)
}

export function addressText(device: Device): string | undefined {
  return device.tunnel?.forwards
    .map((forward) => forward.address ?? `${forward.bindAddress}:${forward.port}`)
    .join(', ')
}

/** Everything about one device. */
export function describeDevice(device: Device): string {
  const seen = device.lastSeen
  const fields = formatFields([
    ['id', device.id],
    ['source', device.source],
    ['name', device.name],
    ['mac', device.mac],
    ['region', device.region],
    ['ports', device.ports?.join(', ')],
    ['keepalive', device.keepalive],
    [
      'tunnel',
      device.tunnel
        ? `up on ${device.tunnel.slave} since ${relativeTime(device.tunnel.connectedAt) ?? '-'}`
        : 'none',
    ],
    ['reached at', addressText(device)],
    ['last seen', relativeTime(seen?.at)],
    ['  where', seen?.where],
    ['  why', seen?.why],
  ])
  const keys = (device.keys ?? []).map(
    (key) => `key          ${key.fingerprint}${key.label ? `  ${key.label}` : ''}\n`,
  )
  return fields + keys.join('')
}
