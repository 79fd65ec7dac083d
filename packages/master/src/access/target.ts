// What people can reach, as it is stored: every device is a target by itself, hosts are added. No storing, no REST.
import { createHash, randomUUID } from 'node:crypto'

import { parsePublicKeyLine, SshoalError } from '@sshoal/shared'

import type { Change, RecordRef } from '../store/store.ts'
import { isName, isUuid, readHost, readName, readPort, readRegion } from './name.ts'

interface Common {
  /** A UUID; never another's, not even of a device that was removed and came back. Grants and pools hold it. */
  id: string
  /** A name too. That of a device whose id is one. */
  uuid: string
  project: string
  /** The id of the record. */
  name: string
  /** Pinned, each `type base64`. */
  hostKeys: string[]
  /** Ids of the pools of which it was made a member. */
  pools: string[]
  /** Names of the gates to which it is attached; none: any slave lets through. */
  gates: string[]
  /** ms since 1970. */
  createdAt: number
}

export interface DeviceTarget extends Common {
  kind: 'device'
  device: string
}

export interface HostTarget extends Common {
  kind: 'host'
  address: string
  port: number
  region?: string
}

export type Target = DeviceTarget | HostTarget

export interface NewHost {
  name: string
  address: string
  port?: number
  region?: string
  hostKeys?: string[]
}

export interface TargetSettings {
  address?: string
  port?: number
  region?: string | null
  hostKeys?: string[]
}

export const TARGET = 'target'
const MAX_HOST_KEYS = 8

/** Throws INVALID_NAME, INVALID_ADDRESS, INVALID_REGION, INVALID_KEY, TOO_MANY_KEYS. */
export function makeHost(project: string, wanted: NewHost, now: number): HostTarget {
  const id = randomUUID()
  const bare: HostTarget = {
    kind: 'host',
    ...common(project, readName(wanted.name, 'target'), id, now),
    address: readHost(wanted.address),
    port: readPort(wanted.port ?? 22),
  }
  const { region, hostKeys } = wanted
  return changeHost(bare, {
    ...(region === undefined ? {} : { region }),
    ...(hostKeys === undefined ? {} : { hostKeys }),
  })
}

export function makeDeviceTarget(project: string, device: string, name: string, now: number): DeviceTarget {
  const uuid = isUuid(device.toLowerCase()) ? device.toLowerCase() : undefined
  const id = randomUUID()
  // A name that looks like a UUID is only ever its owner's own.
  return { kind: 'device', ...common(project, name, id, now), uuid: name === uuid ? uuid : id, device }
}

/** Throws as `makeHost`; DEVICE_TARGET for what a device says of itself. */
export function changeTarget(target: Target, settings: TargetSettings): Target {
  if (target.kind === 'host') return changeHost(target, settings)
  const { address, port, region, hostKeys } = settings
  if (address !== undefined || port !== undefined || region !== undefined)
    throw new SshoalError(
      'DEVICE_TARGET',
      `${target.name} is a device: where it is, it says itself; its region is changed at the device`,
    )
  return hostKeys === undefined ? target : { ...target, hostKeys: readHostKeys(hostKeys) }
}

function changeHost(target: HostTarget, { address, port, region, hostKeys }: TargetSettings): HostTarget {
  const { region: before, ...rest } = target
  const after = region === undefined ? before : region === null ? undefined : readRegion(region)
  return {
    ...rest,
    address: address === undefined ? target.address : readHost(address),
    port: port === undefined ? target.port : readPort(port),
    ...(after === undefined ? {} : { region: after }),
    hostKeys: hostKeys === undefined ? target.hostKeys : readHostKeys(hostKeys),
  }
}

/**
 * The names that a device's target may get, the best first: its id where that is a name, then what is left of it with a
 * hash of the whole, so that it is the same again whenever it is made.
 */
export function* deviceNames(project: string, device: string): Generator<string, void> {
  const plain = device.toLowerCase()
  if (isName(plain)) yield plain
  const hash = createHash('sha256').update(`${project}\0${device}`).digest('hex')
  const words = plain.replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')
  for (const length of [8, 16, 32]) {
    const head = words.slice(0, 62 - length).replace(/-$/, '')
    yield head === '' ? hash.slice(0, length) : `${head}-${hash.slice(0, length)}`
  }
}

export function targetRef(project: string, name: string): RecordRef {
  return { kind: TARGET, project, id: name }
}

export function putTarget(target: Target, expect: 'absent' | number): Change {
  return {
    type: 'put',
    ref: targetRef(target.project, target.name),
    value: target,
    claims: [
      { index: 'id', value: target.id },
      { index: 'uuid', value: target.uuid },
      ...(target.kind === 'device' ? [{ index: 'device', value: target.device }] : []),
    ],
    expect,
  }
}

function common(project: string, name: string, id: string, now: number): Common {
  return { id, uuid: id, project, name, hostKeys: [], pools: [], gates: [], createdAt: now }
}

function readHostKeys(lines: string[]): string[] {
  const keys = lines.map((line) => {
    const { algorithm, base64 } = parsePublicKeyLine(line)
    return `${algorithm} ${base64}`
  })
  const unique = [...new Set(keys)]
  if (unique.length > MAX_HOST_KEYS)
    throw new SshoalError('TOO_MANY_KEYS', `a target has at most ${MAX_HOST_KEYS} host keys`)
  return unique
}
