// How settings reach a worker: all of them as environment variables, so that no secret stands in a process list.
import { envName, type ConfigSources, type Options } from '@sshoal/shared'

import type { WorkerFlags } from './worker-plan.ts'

/** The environment of a worker: what this process got by flag or environment, with `own` in the place of both. */
export function workerEnvironment(
  options: Options,
  sources: ConfigSources,
  own: WorkerFlags,
): Record<string, string | undefined> {
  const env = { ...sources.env }
  for (const [name, option] of Object.entries(options)) {
    const fileName = `${name}File`
    // A flag outdoes the environment, whether it is the value or its file; both variables would contradict each other.
    for (const key of option.secret ? [name, fileName] : [name]) {
      const texts = own[key] === undefined ? sources.flags[key] : [own[key]]
      if (texts === undefined) continue
      delete env[envName(name)]
      if (option.secret) delete env[envName(fileName)]
      env[envName(key)] = option.list ? texts.join(',') : texts.at(-1)
      break
    }
  }
  return env
}
