// What a target is at the moment: where it is, what the hook says of it, whether it is there, and which pools have it.
import type { TunnelView } from '../cluster/cluster.ts'
import type { Device } from '../registry/device.ts'
import type { Sighting } from '../registry/last-seen.ts'
import type { Registry } from '../registry/registry.ts'
import type { Pool } from './pool.ts'
import { fits, type Traits } from './selector.ts'
import type { Target } from './target.ts'

export interface TargetTraitsDeps {
  registry: Pick<Registry, 'get' | 'lastSeen' | 'flush'>
  /** The live tunnel of a device itself. */
  tunnelOf(holder: { project: string; device: string }): TunnelView | undefined
  /** Devices of a project that are there, as many as are asked for. */
  online(project: string, limit: number): string[]
  regionOf(slave: string): string | undefined
}

export interface Presence {
  online: boolean
  /** ms since 1970; undefined: never, or a host. */
  seenAt: number | undefined
}

export class TargetTraits {
  readonly #deps: TargetTraitsDeps

  constructor(deps: TargetTraitsDeps) {
    this.#deps = deps
  }

  /** A host is there as far as anybody knows. */
  async presence(target: Target): Promise<Presence> {
    if (target.kind === 'host') return { online: true, seenAt: undefined }
    const { project, device } = target
    const online = this.tunnelOf(target) !== undefined
    const seen = await this.#deps.registry.lastSeen(project, device)
    return { online, seenAt: seen?.at }
  }

  online(project: string, limit: number): string[] {
    return this.#deps.online(project, limit)
  }

  /** What was seen lately is in the store then. */
  flush(): Promise<void> {
    return this.#deps.registry.flush()
  }

  tunnelOf(target: Target): TunnelView | undefined {
    if (target.kind === 'host') return undefined
    return this.#deps.tunnelOf({ project: target.project, device: target.device })
  }

  /** Is it a member, by hand or by the selector? */
  async has(pool: Pool, target: Target): Promise<boolean> {
    if (target.pools.includes(pool.id)) return true
    return pool.selector !== undefined && fits(pool.selector, await this.of(target))
  }

  /**
   * A device is in the region that its record says, else in that of the slave where it is; what the hook says of it is known
   * while it is there, and as it was when it was there last.
   */
  async of(target: Target): Promise<Traits> {
    if (target.kind === 'host') return { region: target.region, details: {} }
    const { project, device } = target
    const isHere = this.tunnelOf(target) !== undefined
    const [record, seen] = await Promise.all([
      this.#deps.registry.get(project, device),
      isHere ? undefined : this.#deps.registry.lastSeen(project, device),
    ])
    return this.with(target, record, seen)
  }

  /** The same of one whose records have been read. */
  with(target: Target, record: Device | undefined, seen: Sighting | undefined): Traits {
    if (target.kind === 'host') return { region: target.region, details: {} }
    const tunnel = this.tunnelOf(target)
    const { name, mac, region } = record ?? {}
    const live = tunnel && this.#deps.regionOf(tunnel.slave)
    return {
      region: region ?? live ?? seen?.region,
      details: {
        ...(name === undefined ? {} : { name }),
        ...(mac === undefined ? {} : { mac }),
        ...(tunnel?.details ?? seen?.details),
      },
    }
  }
}
