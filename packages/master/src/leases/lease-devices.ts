// Which device a lease is for: by id, or by MAC in any spelling. A MAC that nobody knows becomes a device without keys.
import { SshoalError } from '@sshoal/shared'

import type { DeviceTargets } from '../access/device-targets.ts'
import { claimsOf, makeDevice } from '../registry/device.ts'
import { parseMac, readMac } from '../registry/mac.ts'
import type { Registry } from '../registry/registry.ts'
import type { Change } from '../store/store.ts'

export interface LeaseDevice {
  id: string
  region: string | undefined
  /** What makes it, and the target that it is; empty: it is there. */
  create: Change[]
}

export interface DeviceName {
  /** As it was asked for. */
  text: string
  /** One spelling for all of a MAC. */
  id: string
}

export class LeaseDevices {
  readonly #registry: Pick<Registry, 'get'>
  readonly #targets: Pick<DeviceTargets, 'joining'>
  readonly #now: () => number

  constructor(registry: Pick<Registry, 'get'>, targets: Pick<DeviceTargets, 'joining'>, now: () => number) {
    this.#registry = registry
    this.#targets = targets
    this.#now = now
  }

  /** Throws INVALID_MAC, INVALID_REQUEST. */
  nameOf({
    device,
    macaddress,
  }: {
    device?: string | undefined
    macaddress?: string | undefined
  }): DeviceName {
    if ((device === undefined) === (macaddress === undefined))
      throw new SshoalError('INVALID_REQUEST', 'say which device the lease is for: device or macaddress')
    const text = (macaddress ?? device ?? '').trim()
    return { text, id: macaddress === undefined ? (readMac(text) ?? text) : parseMac(text) }
  }

  /** Throws UNKNOWN_DEVICE for what is neither known nor a MAC. */
  async find(project: string, name: DeviceName): Promise<LeaseDevice> {
    const found =
      (await this.#registry.get(project, name.text)) ?? (await this.#registry.get(project, name.id))
    if (found) return { id: found.id, region: found.region, create: [] }
    const mac = readMac(name.id)
    if (mac === undefined)
      throw new SshoalError('UNKNOWN_DEVICE', `there is no device "${name.text.slice(0, 128)}" here`)
    const device = makeDevice(project, { id: mac, mac }, this.#now())
    return {
      id: mac,
      region: undefined,
      create: [
        {
          type: 'put',
          ref: { kind: 'device', project, id: mac },
          value: device,
          claims: claimsOf(device),
          expect: 'absent',
        },
        ...(await this.#targets.joining(project, mac, this.#now())),
      ],
    }
  }
}
