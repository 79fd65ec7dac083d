// The devices and their keys: create, find, change, remove. Every change is durable before the cluster hears of it,
// and the cluster has dropped what it cached before the caller hears that it is done. Knows no REST and no links.
import { atMost, errorText, SshoalError, type Log } from '@sshoal/shared'
import { LRUCache } from 'lru-cache'

import { DeviceTargets } from '../access/device-targets.ts'
import type { Line } from '../access/ledger.ts'
import { TARGET, type Target } from '../access/target.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { formatCursor, type Change, type RecordRef, type Store, type StoredRecord } from '../store/store.ts'
import { busy, conflictError, hookDevice } from './conflict.ts'
import { matcher } from './device-search.ts'
import {
  changeDevice,
  checkKeyCount,
  claimsOf,
  makeDevice,
  makeKey,
  type Device,
  type DeviceKey,
  type DeviceSettings,
  type NewDevice,
  type NewKey,
} from './device.ts'
import { LastSeen, type Sighting } from './last-seen.ts'
import { readMac } from './mac.ts'

export interface RegistryDeps {
  store: Store
  cluster: Pick<Cluster, 'invalidate' | 'fixedPortsChanged'>
  log: Log
  /** Who decides which devices there are: the registry itself, or a hook beside it. */
  authority: 'store' | 'hook'
  /** ms since 1970. */
  now?: () => number
}

/** What the audit is to say of a change, written in one step with it. */
export type DeviceNote = (device: { id: string; before?: Device; after?: Device }) => Line

export interface DeviceFilter {
  /** Undefined: all projects. */
  project?: string
  /** Part of id, name, MAC or region, or a whole fingerprint. */
  q?: string
  cursor?: string
  limit: number
}

export interface DevicePage {
  devices: Device[]
  next: string | null
}

export interface FixedPortOf {
  project: string
  device: string
  region: string | undefined
  port: number
}

const SCAN_PAGE = 500
const ATTEMPTS = 20

export class Registry {
  readonly #deps: RegistryDeps
  readonly #now: () => number
  readonly #seen: LastSeen
  readonly #targets: DeviceTargets
  #removed: (project: string, id: string, target: Target | undefined) => Promise<void> = async () => {}
  #changed: (before: Device, after: Device) => Promise<void> = async () => {}
  /** So that a login of a known device costs no write. */
  readonly #remembered = new LRUCache<string, true>(atMost(50_000))

  constructor(deps: RegistryDeps) {
    this.#deps = deps
    this.#now = deps.now ?? Date.now
    this.#seen = new LastSeen(deps.store, deps.log)
    this.#targets = new DeviceTargets(deps.store)
  }

  /** Hears of every device that was removed, with the target that it was, before the remover does. */
  onRemoved(listener: (project: string, id: string, target: Target | undefined) => Promise<void>): void {
    this.#removed = listener
  }

  /** Hears of every device of which something else is said than before, before whoever said it does. */
  onChanged(listener: (before: Device, after: Device) => Promise<void>): void {
    this.#changed = listener
  }

  /** Throws DEVICE_EXISTS, HOOK_DEVICE, KEY_TAKEN, MAC_TAKEN, PORT_TAKEN, and what `makeDevice` throws. */
  async create(project: string, wanted: NewDevice, note?: DeviceNote): Promise<Device> {
    const device = makeDevice(project, wanted, this.#now())
    await this.#refuseLeased(device.keys)
    const ref = refOf(project, device.id)
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const old = await this.#deps.store.get<Device>(ref)
      // What a hook of earlier days left behind does not stand in the way of a registry that decides by itself.
      const leftover = old?.value.source === 'hook' && this.#deps.authority === 'store'
      if (old?.value.source === 'hook' && !leftover) throw hookDevice(device.id)
      const target = await this.#targets.joining(project, device.id, this.#now())
      const line = note?.({ id: device.id, after: device })
      const changes = [put(device, leftover && old ? old.version : 'absent'), ...target]
      if (!(await this.#apply(changes, line))) continue
      if (device.ports) this.#portsChanged()
      return device
    }
    throw busy()
  }

  /** By id, or by MAC in any spelling. */
  async get(project: string, id: string): Promise<Device | undefined> {
    return (await this.#find(project, id))?.value
  }

  /** The devices that hold the key, at most one per project. */
  async byFingerprint(fingerprint: string): Promise<Device[]> {
    const found = await this.#deps.store.find<Device>('device', { index: 'fingerprint', value: fingerprint })
    return found.map(({ value }) => value)
  }

  /** Ordered by project and id. Throws INVALID_CURSOR. */
  async list(filter: DeviceFilter): Promise<DevicePage> {
    if (filter.q?.startsWith('SHA256:')) {
      const devices = await this.byFingerprint(filter.q)
      return {
        devices: devices.filter((device) => !filter.project || device.project === filter.project),
        next: null,
      }
    }
    const matches = matcher(filter.q)
    const devices: Device[] = []
    let after = filter.cursor
    for (;;) {
      const page = await this.#scan(filter.project, after)
      for (const { value } of page.records) {
        if (!matches(value)) continue
        const last = devices.at(-1)
        if (last && devices.length === filter.limit) return { devices, next: formatCursor(last) }
        devices.push(value)
      }
      if (page.next === null) return { devices, next: null }
      after = page.next
      // A search through a large registry leaves room for others.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** `null` takes a setting away. Throws as `create`, and UNKNOWN_DEVICE. */
  async change(project: string, id: string, settings: DeviceSettings, note?: DeviceNote): Promise<Device> {
    const { before, after, number } = await this.#update(
      project,
      id,
      (device) => changeDevice(device, settings),
      { affects: differ, note },
    )
    if (JSON.stringify(portsOf(before)) !== JSON.stringify(portsOf(after))) this.#portsChanged()
    if (!differ(before, after)) return after
    await this.#invalidate(before.keys, number)
    await this.#changed(before, after)
    return after
  }

  /** Resolves with the number of tunnels that were cut. Throws UNKNOWN_DEVICE, HOOK_DEVICE. */
  async remove(project: string, id: string, note?: DeviceNote): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = await this.#editable(project, id, this.#deps.authority === 'store')
      const { ref, device, version } = found
      const own = await this.#targets.of(ref.project, ref.id)
      const line = note?.({ id: ref.id, before: device })
      const outcome = await this.#deps.store.transact(
        [
          { type: 'remove', ref, expect: version },
          { type: 'remove', ref: { ...ref, kind: 'seen' } },
          ...this.#targets.leaving(own),
          ...(line ? [line.change] : []),
        ],
        { numbered: device.keys.length > 0 },
      )
      if (!outcome.done) continue
      line?.written()
      this.#remembered.delete(`${ref.project}\0${ref.id}`)
      if (device.ports) this.#portsChanged()
      await this.#removed(ref.project, ref.id, own?.target)
      return this.#invalidate(device.keys, outcome.invalidation)
    }
    throw busy()
  }

  /** Throws UNKNOWN_DEVICE, HOOK_DEVICE, INVALID_KEY, KEY_TAKEN, TOO_MANY_KEYS. */
  async addKey(project: string, id: string, wanted: NewKey, note?: DeviceNote): Promise<Device> {
    const key = makeKey(wanted, this.#now())
    await this.#refuseLeased([key])
    const add = (device: Device): Device => {
      if (device.keys.some(({ fingerprint }) => fingerprint === key.fingerprint))
        throw new SshoalError('KEY_TAKEN', `${device.id} has that key already`, {
          details: { fingerprint: key.fingerprint, device: device.id },
        })
      const changed = { ...device, keys: [...device.keys, key] }
      checkKeyCount(changed)
      return changed
    }
    return (await this.#update(project, id, add, { note })).after
  }

  /** Resolves with the number of tunnels that were cut. Throws UNKNOWN_DEVICE, HOOK_DEVICE, UNKNOWN_KEY. */
  async removeKey(project: string, id: string, fingerprint: string, note?: DeviceNote): Promise<number> {
    let removed: DeviceKey | undefined
    const remove = (device: Device): Device => {
      removed = device.keys.find((key) => key.fingerprint === fingerprint)
      if (!removed)
        throw new SshoalError('UNKNOWN_KEY', `${device.id} has no key ${fingerprint.slice(0, 100)}`)
      return { ...device, keys: device.keys.filter((key) => key !== removed) }
    }
    const { number } = await this.#update(project, id, remove, { affects: differ, note })
    return removed ? this.#invalidate([removed], number) : 0
  }

  /** Every fixed port of every project. */
  async fixedPorts(): Promise<FixedPortOf[]> {
    const claims = await this.#deps.store.claims('device', 'port')
    return claims.map(({ value, ref }) => {
      const colon = value.lastIndexOf(':')
      return {
        project: ref.project,
        device: ref.id,
        region: value.slice(0, colon) || undefined,
        port: Number(value.slice(colon + 1)),
      }
    })
  }

  /** Notes that a device was here; written within a second. A device that nobody knows leaves no trace. */
  seen(project: string, id: string, sighting: Omit<Sighting, 'at'>): void {
    this.#seen.note(project, id, { at: this.#now(), ...sighting })
  }

  lastSeen(project: string, id: string): Promise<Sighting | undefined> {
    return this.#seen.get(project, id)
  }

  /** The hook let a device in: it is listed from now on, with `source: "hook"` unless the store knows it. */
  remember(project: string, id: string): void {
    const name = `${project}\0${id}`
    if (this.#deps.authority === 'store' || this.#remembered.has(name)) return
    this.#remembered.set(name, true)
    this.#seen.remember(project, id)
  }

  flush(): Promise<void> {
    return this.#seen.flush()
  }

  /** Writes what waits. */
  close(): Promise<void> {
    return this.#seen.close()
  }

  #scan(project: string | undefined, after: string | undefined) {
    return this.#deps.store.scan<Device>({
      kind: 'device',
      ...(project === undefined ? {} : { project }),
      ...(after === undefined ? {} : { after }),
      limit: SCAN_PAGE,
    })
  }

  async #find(project: string, id: string): Promise<StoredRecord<Device> | undefined> {
    const exact = await this.#deps.store.get<Device>(refOf(project, id))
    const mac = exact ? undefined : readMac(id)
    if (mac === undefined) return exact
    const aliases = await this.#deps.store.find<Device>('device', { index: 'mac', value: mac })
    return aliases.find((record) => record.project === project)
  }

  async #editable(
    project: string,
    id: string,
    alsoLeftover = false,
  ): Promise<{ ref: RecordRef; device: Device; version: number }> {
    const found = await this.#find(project, id)
    if (!found) throw new SshoalError('UNKNOWN_DEVICE', `there is no device "${id.slice(0, 128)}" here`)
    if (found.value.source === 'hook' && !alsoLeftover) throw hookDevice(found.id)
    return { ref: refOf(project, found.id), device: found.value, version: found.version }
  }

  /** Compare and set, until nobody else came between. `number`: of the invalidation, where `affects` says that one follows. */
  async #update(
    project: string,
    id: string,
    edit: (device: Device) => Device,
    more: { affects?: (before: Device, after: Device) => boolean; note: DeviceNote | undefined },
  ): Promise<{ before: Device; after: Device; number: number | undefined }> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { device, version } = await this.#editable(project, id)
      const after = edit(device)
      const numbered = device.keys.length > 0 && (more.affects?.(device, after) ?? false)
      const line = more.note?.({ id: device.id, before: device, after })
      const done = await this.#apply([put(after, version)], line, numbered)
      if (done) return { before: device, after, number: done.number }
    }
    throw busy()
  }

  /** Undefined: somebody changed the record meanwhile. Throws what a conflict means. */
  async #apply(
    changes: Change[],
    line: Line | undefined,
    numbered = false,
  ): Promise<{ number: number | undefined } | undefined> {
    const all = line ? [...changes, line.change] : changes
    const outcome = await this.#deps.store.transact(all, { numbered })
    if (outcome.done) {
      line?.written()
      return { number: outcome.invalidation }
    }
    const { conflict } = outcome
    if (conflict.reason === 'changed' || conflict.reason === 'missing') return undefined
    // Another device was faster with this name of a target: there are more.
    if (conflict.ref.kind === TARGET) return undefined
    throw conflictError(conflict)
  }

  /** The key of a lease is no device's: it opens one port, for its time. */
  async #refuseLeased(keys: readonly DeviceKey[]): Promise<void> {
    for (const { fingerprint } of keys)
      if ((await this.#deps.store.find('lease', { index: 'fingerprint', value: fingerprint })).length > 0)
        throw new SshoalError('KEY_TAKEN', `the key ${fingerprint} belongs to a lease`, {
          details: { fingerprint },
        })
  }

  /** `number`: as the store gave it together with the change. */
  async #invalidate(keys: DeviceKey[], number: number | undefined): Promise<number> {
    if (keys.length === 0) return 0
    try {
      const fingerprints = keys.map(({ fingerprint }) => fingerprint)
      return await this.#deps.cluster.invalidate(fingerprints, number)
    } catch (error) {
      // The change itself is durable; slaves that missed the number empty their cache when they come back.
      this.#deps.log.error(
        { err: error, reason: errorText(error) },
        'an invalidation did not reach the slaves',
      )
      return 0
    }
  }

  #portsChanged(): void {
    this.#deps.cluster.fixedPortsChanged()
  }
}

function differ(before: Device, after: Device): boolean {
  return JSON.stringify(before) !== JSON.stringify(after)
}

function refOf(project: string, id: string): RecordRef {
  return { kind: 'device', project, id }
}

function put(device: Device, expect: 'absent' | number): Change {
  return {
    type: 'put',
    ref: refOf(device.project, device.id),
    value: device,
    claims: claimsOf(device),
    expect,
  }
}

/** What decides which port belongs to whom where. */
function portsOf(device: Device): unknown {
  return [device.ports ?? [], device.ports ? device.region : undefined]
}
