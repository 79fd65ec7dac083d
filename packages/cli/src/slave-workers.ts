// N slaves of one machine as processes under the supervisor; the same for `slave --workers` and `up --slaves`.
import { hostname } from 'node:os'

import type { ConfigSources, Log, Options } from '@sshoal/shared'

import type { Program } from './program.ts'
import { workerEnvironment } from './worker-environment.ts'
import { planWorkers, type SharedSettings, type WorkerFlags } from './worker-plan.ts'
import { startSupervisor, type Supervisor } from './worker-supervisor.ts'

export interface SlaveWorkersSettings {
  count: number
  /** The options of a slave. */
  options: Options
  values: SharedSettings
  sources: ConfigSources
  /** Flags that are the same for all of them and outdo those of this process. */
  common: WorkerFlags
  program: Program
  log: Log
}

export async function startSlaveWorkers(settings: SlaveWorkersSettings): Promise<Supervisor> {
  const { program, log, options, sources, common } = settings
  const plan = planWorkers(settings.count, settings.values, hostname())
  return startSupervisor({
    log,
    workers: plan.map((flags) => ({
      script: program.script,
      args: ['slave'],
      execArgv: program.execArgv,
      env: workerEnvironment(options, sources, { ...common, ...flags, workers: '1' }),
    })),
  })
}
