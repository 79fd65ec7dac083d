// The targets that devices are by themselves: made in the transaction that makes the device, removed with it.
import type { Change, Store } from '../store/store.ts'
import { isUuid } from './name.ts'
import { deviceNames, makeDeviceTarget, putTarget, TARGET, targetRef, type Target } from './target.ts'

export class DeviceTargets {
  readonly #store: Pick<Store, 'get' | 'find'>

  constructor(store: Pick<Store, 'get' | 'find'>) {
    this.#store = store
  }

  async of(project: string, device: string): Promise<{ target: Target; version: number } | undefined> {
    const found = await this.#store.find<Target>(TARGET, { index: 'device', value: device })
    const own = found.find((record) => record.project === project)
    return own && { target: own.value, version: own.version }
  }

  /**
   * What makes the target of a device; nothing where it has one. Two devices may want one name at once: the one that comes
   * too late plans again.
   */
  async joining(project: string, device: string, now: number): Promise<Change[]> {
    if (await this.of(project, device)) return []
    for (const name of deviceNames(project, device))
      if (await this.#isFree(project, name))
        return [putTarget(makeDeviceTarget(project, device, name, now), 'absent')]
    return [] // three hashes are taken: it cannot be reached by name, and is a device all the same
  }

  /** Pools and grants hold the id of a target, so nothing of it comes to life with the next of that name. */
  leaving(own: { target: Target; version: number } | undefined): Change[] {
    return own
      ? [{ type: 'remove', ref: targetRef(own.target.project, own.target.name), expect: own.version }]
      : []
  }

  async #isFree(project: string, name: string): Promise<boolean> {
    if (await this.#store.get(targetRef(project, name))) return false
    if (!isUuid(name)) return true
    const found = await this.#store.find(TARGET, { index: 'uuid', value: name })
    return !found.some((record) => record.project === project)
  }
}
