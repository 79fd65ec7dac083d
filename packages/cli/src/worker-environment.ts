// How settings reach a worker: all of them as environment variables, so that no secret stands in a process list.
import { envName, type ConfigSources, type Option, type Options } from '@sshoal/shared'

import type { WorkerFlags } from './worker-plan.ts'

/** The environment of a worker: what this process got by flag or environment, with `own` in the place of both. */
export function workerEnvironment(
  options: Options,
  sources: ConfigSources,
  own: WorkerFlags,
): Record<string, string | undefined> {
  const env = { ...sources.env }
  for (const [name, option] of Object.entries(options)) {
    const keys = option.secret ? [name, `${name}File`] : [name]
    const given =
      keys.find((key) => own[key] !== undefined) ?? keys.find((key) => sources.flags[key] !== undefined)
    if (given === undefined) continue
    // A secret and its file would contradict each other: one of them is left.
    for (const key of keys) delete env[envName(key)]
    env[envName(given)] = own[given] ?? flagText(option, sources.flags[given] ?? [])
  }
  return env
}

/** As a variable holds it: lists with commas; of anything else the last one counts. */
function flagText(option: Option<unknown>, texts: string[]): string | undefined {
  return option.list ? texts.join(',') : texts.at(-1)
}
