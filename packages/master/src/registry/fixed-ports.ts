// Who has which fixed port, as slaves must know it.
import type { FixedPort } from '@sshoal/shared'

import type { Registry } from './registry.ts'

export class FixedPorts {
  readonly #registry: Pick<Registry, 'fixedPorts'>
  readonly #regionFallback: ReadonlyMap<string, readonly string[]>
  #last: Awaited<ReturnType<Registry['fixedPorts']>> | undefined

  constructor(
    registry: Pick<Registry, 'fixedPorts'>,
    regionFallback: ReadonlyMap<string, readonly string[]>,
  ) {
    this.#registry = registry
    this.#regionFallback = regionFallback
  }

  /** Those of devices that may come to a slave of this region. */
  async of(region: string | undefined): Promise<FixedPort[]> {
    const all = await this.#all()
    return all
      .filter(
        (owner) =>
          owner.region === undefined ||
          owner.region === region ||
          (this.#regionFallback.get(owner.region) ?? []).includes(region ?? ''),
      )
      .map(({ project, device, port }) => ({ project, device, port }))
  }

  /** While the store is away as they were: a slave that links anew keeps its tunnels. */
  async #all(): ReturnType<Registry['fixedPorts']> {
    try {
      this.#last = await this.#registry.fixedPorts()
      return this.#last
    } catch (error) {
      if (this.#last) return this.#last
      throw error
    }
  }
}
