// A device as it is run for good: asks any master for a slot, connects with `ssh`, and begins again when it is cut.

import { openDevice, type Device } from './device.ts'
import { atEnd } from './ending.ts'
import type { Key } from './key.ts'
import { pause } from './wait.ts'

export interface RoamerOptions {
  key: Key
  /** Asked in turn until one answers. */
  masters: () => string[]
  forwards?: string[]
  options?: string[]
}

export interface Roamer {
  /** The connection that it holds now, or tries. */
  readonly current: Device | undefined
  /** How often it has begun. */
  readonly connects: number
  stop(): Promise<void>
}

/** Slots are remembered, as the device script does it: without a master it goes where it was sent before. */
export function roam({ key, masters, forwards, options = [] }: RoamerOptions): Roamer {
  let current: Device | undefined
  let connects = 0
  const stopping = new AbortController()
  let slot: { host: string; port: number } | undefined
  const ask = async (): Promise<void> => {
    for (const url of masters()) {
      try {
        const signal = AbortSignal.timeout(3_000)
        const response = await fetch(`${url}/connect`, { signal })
        if (!response.ok) continue
        slot = (await response.json()) as { host: string; port: number }
        return
      } catch {
        // The next one.
      }
    }
  }
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await ask()
      if (stopping.signal.aborted) return
      if (slot) {
        connects++
        const quick = ['-o', 'ConnectTimeout=3', '-o', 'ServerAliveInterval=2', '-o', 'ServerAliveCountMax=2']
        const device = openDevice({
          slave: { host: slot.host, port: slot.port },
          key,
          options: [...options, ...quick],
          ...(forwards === undefined ? {} : { forwards }),
        })
        current = device
        await device.exited
      }
      await pause(200)
    }
  }
  void run()
  const stop = async (): Promise<void> => {
    stopping.abort()
    await current?.stop(0)
  }
  atEnd(stop)
  return {
    get current() {
      return current
    },
    get connects() {
      return connects
    },
    stop,
  }
}
