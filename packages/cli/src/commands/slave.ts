// `sshoal slave`: one slave in this process, or several as workers; `sshoal slave drain` is a verb over REST.
import { loadConfig, option, type ConfigSources, type Options } from '@sshoal/shared'

import type { Roles } from '../roles.ts'
import { startSlaveWorkers } from '../slave-workers.ts'
import { verb, type Call, type Group } from '../verb.ts'
import { relayAdvice, type SharedSettings } from '../worker-plan.ts'
import { slaveDrain } from './slave-drain.ts'

export const workerOptions = {
  workers: option.integer({
    describe: 'run this many slaves on consecutive SSH ports, the forward ports divided among them',
    minimum: 1,
    maximum: 1_024,
    fallback: 1,
  }),
}

export function slave(roles: Roles): Group {
  const options: Options & typeof workerOptions = { ...roles.slaveOptions, ...workerOptions }
  const self = verb({
    name: 'slave',
    summary: 'run a slave, or look after one',
    options,
    examples: [
      'sshoal slave --master https://sshoal.example.com --token-file slave-token',
      'sshoal slave drain s1 --over 60s',
    ],
    run: async (call) => (call.values.workers === 1 ? runOne(roles, call) : runWorkers(call)),
  })

  async function runWorkers({ values, context, sources }: Call<typeof options>): Promise<number> {
    const log = await context.createLog(String(values.logLevel))
    const shared = values as unknown as SharedSettings
    const advice = relayAdvice(values.workers, shared, values.master as string[])
    if (advice !== undefined) log.warn({ workers: values.workers }, advice)
    const supervisor = await startSlaveWorkers({
      count: values.workers,
      options,
      values: shared,
      sources,
      common: {},
      program: context.program,
      log,
    })
    return context.hold({
      log,
      reload: async () => supervisor.signal('SIGHUP'),
      close: async () => supervisor.close(),
    })
  }

  return { name: 'slave', summary: self.summary, self, members: [slaveDrain] }
}

/** The token as it is now: the file of `--token-file` may have been replaced since the start. Throws INVALID_CONFIG. */
export function readToken(sources: ConfigSources): string | undefined {
  return loadConfig({ token: option.secret({ describe: '' }) }, sources).token
}

async function runOne(roles: Roles, { values, context, sources }: Call): Promise<number> {
  const log = await context.createLog(String(values.logLevel))
  const starting = roles.startSlave(values, { log, readToken: () => readToken(sources) })
  return context.hold(
    starting.then((running) => {
      const { id, host, sshPorts } = running
      context.announce({ id, host, sshPorts })
      // The slave's own --drain-timeout is the deadline.
      return { log, reload: async () => running.reload(), close: async () => running.close() }
    }),
  )
}
