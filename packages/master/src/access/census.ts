// All targets of a project with what they are, read in stretches and not one by one: a selector may have any of them. Those who
// ask while another reading goes on share the next one.
import { OneAtATime } from '../leases/one-at-a-time.ts'
import type { Device } from '../registry/device.ts'
import type { Sighting } from '../registry/last-seen.ts'
import type { Directory } from './directory.ts'
import type { Selector, Traits } from './selector.ts'
import type { TargetTraits } from './target-traits.ts'
import { TARGET, type Target } from './target.ts'

export interface Counted {
  target: Target
  is: Traits
}

export interface Census {
  all: Counted[]
  /** It did not take longer than it may: nobody is missing. */
  complete: boolean
}

export class Censuses {
  readonly #directory: Directory
  readonly #traits: TargetTraits
  readonly #turns = new OneAtATime()
  /** Those that have not begun yet. */
  readonly #next = new Map<string, Promise<Census>>()

  constructor(directory: Directory, traits: TargetTraits) {
    this.#directory = directory
    this.#traits = traits
  }

  /** By what it is for: traits that no selector looks at are not read. */
  of(project: string, selectors: readonly Selector[], maxMs: number): Promise<Census> {
    const detailed = selectors.some(({ details }) => details !== undefined)
    const key = `${project} ${detailed} ${maxMs}`
    const next = this.#next.get(key)
    if (next) return next
    const mine = this.#turns.take('census', () => {
      this.#next.delete(key)
      return this.#take(project, detailed, performance.now() + maxMs)
    })
    this.#next.set(key, mine)
    return mine
  }

  async #take(project: string, detailed: boolean, end: number): Promise<Census> {
    await this.#traits.flush()
    const devices = new Map<string, Device>()
    const seen = new Map<string, Sighting>()
    const isLate = (): boolean => performance.now() > end
    for await (const records of this.#directory.pages<Device>('device', project)) {
      for (const { id, value } of records) devices.set(id, value)
      if (isLate()) break
    }
    // Where a device was is asked only of those of which no record says where they belong.
    const isAsked = detailed || [...devices.values()].some(({ region }) => region === undefined)
    if (isAsked)
      for await (const records of this.#directory.pages<Sighting>('seen', project)) {
        for (const { id, value } of records) seen.set(id, value)
        if (isLate()) break
      }
    const all: Counted[] = []
    for await (const records of this.#directory.pages<Target>(TARGET, project)) {
      for (const { value: target } of records) {
        const id = target.kind === 'device' ? target.device : ''
        all.push({ target, is: this.#traits.with(target, devices.get(id), seen.get(id)) })
      }
      if (isLate()) return { all, complete: false }
    }
    return { all, complete: !isLate() }
  }
}
