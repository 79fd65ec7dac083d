// A device as the registry keeps it, and what a request must look like to become one. No storing, no REST.
import {
  formatPublicKeyLine,
  parseDuration,
  parsePublicKeyLine,
  SshoalError,
  type SshPublicKey,
} from '@sshoal/shared'

import type { Claim } from '../store/store.ts'
import { parseMac, readMac } from './mac.ts'

export interface DeviceKey {
  fingerprint: string
  algorithm: string
  /** The wire form in base64. */
  publicKey: string
  label?: string
  /** ms since 1970. */
  addedAt: number
}

export interface Device {
  id: string
  project: string
  /** `hook`: only the hook knows it; the registry remembers that it was there. */
  source: 'store' | 'hook'
  name?: string
  /** 12 hex digits, lower case. */
  mac?: string
  region?: string
  /** `ports[i]` is the i-th bound forward's. */
  ports?: number[]
  /** ms; 0: none. */
  keepaliveMs?: number
  keys: DeviceKey[]
  /** ms since 1970. */
  createdAt: number
}

export interface NewKey {
  /** An OpenSSH public key line. */
  key: string
  label?: string
}

/** What can be said of a device and changed later; `null` takes it away. */
export interface DeviceSettings {
  name?: string | null
  mac?: string | null
  region?: string | null
  ports?: number[] | null
  /** A duration (`15s`) or ms. */
  keepalive?: string | number | null
}

export interface NewDevice extends DeviceSettings {
  id: string
  keys?: (string | NewKey)[]
}

export const MAX_KEYS = 64
const MAX_PORTS = 64
/** They are routes of the REST interface. */
const RESERVED_IDS = ['import', 'refused']

/** Throws INVALID_ID, INVALID_KEY, INVALID_MAC, INVALID_REGION, INVALID_PORTS, INVALID_KEEPALIVE, TOO_MANY_KEYS. */
export function makeDevice(project: string, wanted: NewDevice, now: number): Device {
  checkId(wanted.id)
  const keys = (wanted.keys ?? []).map((key) => makeKey(typeof key === 'string' ? { key } : key, now))
  const bare: Device = { id: wanted.id, project, source: 'store', keys: unique(keys), createdAt: now }
  checkKeyCount(bare)
  return changeDevice(bare, wanted)
}

/** A copy with the settings that are not undefined. Throws as `makeDevice`. */
export function changeDevice(device: Device, settings: DeviceSettings): Device {
  const changed: Device = { ...device }
  change(changed, 'name', settings.name, checkName)
  change(changed, 'mac', settings.mac, parseMac)
  change(changed, 'region', settings.region, checkRegion)
  change(changed, 'ports', settings.ports, checkPorts)
  change(changed, 'keepaliveMs', settings.keepalive, readKeepalive)
  return changed
}

/** Throws INVALID_KEY. */
export function makeKey(wanted: NewKey, now: number): DeviceKey {
  const key = parsePublicKeyLine(wanted.key)
  const label = wanted.label ?? (key.comment === '' ? undefined : key.comment)
  return { ...bareKey(key), ...(label === undefined ? {} : { label: label.slice(0, 255) }), addedAt: now }
}

export function checkKeyCount({ keys }: { keys: readonly DeviceKey[] }, whose = 'a device'): void {
  if (keys.length > MAX_KEYS)
    throw new SshoalError('TOO_MANY_KEYS', `${whose} has at most ${MAX_KEYS} keys; remove one first`)
}

/** The OpenSSH line of a device's key, its label as the comment. */
export function keyLine(key: DeviceKey): string {
  return formatPublicKeyLine({ algorithm: key.algorithm, base64: key.publicKey, comment: key.label ?? '' })
}

/**
 * What only this device may hold: its keys and its MAC in the project (an id that reads as a MAC counts as one, so that
 * every spelling leads to one device), and its fixed ports in the region, whatever the project, for projects share slaves.
 */
export function claimsOf(device: Device): Claim[] {
  const macs = new Set([device.mac, readMac(device.id)].filter((mac) => mac !== undefined))
  return [
    ...device.keys.map(({ fingerprint }) => ({ index: 'fingerprint', value: fingerprint })),
    ...[...macs].map((mac) => ({ index: 'mac', value: mac })),
    ...(device.ports ?? []).map((port) => ({
      index: 'port',
      value: `${device.region ?? ''}:${port}`,
      everywhere: true,
    })),
  ]
}

function bareKey(key: SshPublicKey): Pick<DeviceKey, 'fingerprint' | 'algorithm' | 'publicKey'> {
  return { fingerprint: key.fingerprint, algorithm: key.algorithm, publicKey: key.base64 }
}

function unique(keys: DeviceKey[]): DeviceKey[] {
  return [...new Map(keys.map((key) => [key.fingerprint, key])).values()]
}

function change<K extends 'name' | 'mac' | 'region' | 'ports' | 'keepaliveMs', T>(
  device: Device,
  field: K,
  wanted: T | null | undefined,
  read: (wanted: T) => Device[K],
): void {
  if (wanted === undefined) return
  if (wanted === null) delete device[field]
  else device[field] = read(wanted)
}

function checkId(id: string): void {
  if (!/^[A-Za-z0-9._:@-]{1,128}$/.test(id) || id === '.' || id === '..')
    throw new SshoalError(
      'INVALID_ID',
      `"${id.slice(0, 60)}" is not a device id: write 1 to 128 letters, digits, dots, colons, dashes, underscores or @`,
    )
  if (RESERVED_IDS.includes(id)) throw new SshoalError('INVALID_ID', `"${id}" cannot be a device id`)
}

function checkName(name: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are exactly what must not reach a terminal
  if (name.length < 1 || name.length > 255 || /[\u0000-\u001f\u007f]/.test(name))
    throw new SshoalError('INVALID_NAME', 'a name is one line of 1 to 255 characters')
  return name
}

function checkRegion(region: string): string {
  if (!/^[A-Za-z0-9._-]{1,63}$/.test(region))
    throw new SshoalError('INVALID_REGION', `"${region.slice(0, 60)}" is not a region name`)
  return region
}

function checkPorts(ports: number[]): number[] {
  if (ports.length > MAX_PORTS)
    throw new SshoalError('INVALID_PORTS', `a device has at most ${MAX_PORTS} ports`)
  for (const port of ports)
    if (!Number.isInteger(port) || port < 1 || port > 65_535)
      throw new SshoalError('INVALID_PORTS', `${port} is not a port: write 1 to 65535`)
  if (new Set(ports).size !== ports.length)
    throw new SshoalError('INVALID_PORTS', 'a port may stand in the list once')
  return ports
}

function readKeepalive(keepalive: string | number): number {
  const ms = typeof keepalive === 'number' ? keepalive : parseDuration(keepalive)
  if (!Number.isSafeInteger(ms) || ms < 0 || (ms > 0 && ms < 1_000) || ms > 86_400_000)
    throw new SshoalError('INVALID_KEEPALIVE', 'keepalive is 0 (none), or between 1s and 1d')
  return ms
}
