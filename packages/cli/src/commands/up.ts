// `sshoal up`: a whole cluster on this machine: a master in this process, one slave beside it or several as workers.
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'

import { option, type Options } from '@sshoal/shared'

import { firstStartText, laterStartText } from '../first-start.ts'
import { writeKnownHosts } from '../known-hosts.ts'
import type { ReadySlave, Roles, RunningMaster } from '../roles.ts'
import { startSlaveWorkers } from '../slave-workers.ts'
import { verb, type Call, type Role, type Verb } from '../verb.ts'
import type { SharedSettings } from '../worker-plan.ts'
import { readToken } from './slave.ts'

export const upOptions = {
  slaves: option.integer({
    describe: 'slaves on this machine, on consecutive SSH ports; more than one run as processes of their own',
    minimum: 1,
    maximum: 1_024,
    fallback: 1,
  }),
}

export function up(roles: Roles): Verb {
  // Its slaves belong to its own master: where that is and what lets them in is not for anybody to say.
  const { master: _master, token: _token, ...slaveOptions } = roles.slaveOptions
  const options: Options & typeof upOptions = { ...upOptions, ...slaveOptions, ...roles.masterOptions }
  return verb({
    name: 'up',
    summary: 'run a master and slaves on this machine',
    options,
    settled: {
      master: 'the slaves of `sshoal up` belong to its own master; for another use `sshoal slave --master`',
      token: 'the slaves of `sshoal up` use the slave-token of its data directory',
      tokenFile: 'the slaves of `sshoal up` use the slave-token of its data directory',
      workers: 'say --slaves',
    },
    examples: ['sshoal up', 'sshoal up --slaves 4 --public-host sshoal.example.com'],
    async run(call) {
      const { values, context } = call
      const log = await context.createLog(String(values.logLevel))
      // Asked before the master makes it: its absence is what makes a start the first one.
      const first = !existsSync(join(String(values.data), 'admin-token'))
      const starting = startBoth(roles, call)
      // From here on a signal is heard; one that comes while they start stops them as soon as they are up.
      const ending = context.hold(
        starting.then(({ master, slaves }) => ({
          log,
          async reload() {
            await master.reload()
            await slaves.reload()
          },
          async close() {
            // The slaves first: their devices are moved and their leave is taken while the master still hears it.
            await slaves.close()
            await master.close()
          },
        })),
      )
      const tellOf = async ({ master, slaves }: Awaited<typeof starting>): Promise<void> => {
        await writeKnownHosts(master, log)
        const { program, cwd } = context
        const places = {
          url: master.url,
          dataDir: resolve(cwd, master.dataDir),
          adminTokenFile: resolve(cwd, master.adminTokenFile),
          slaveTokenFile: resolve(cwd, master.slaveTokenFile),
        }
        const start = { program, cwd, master: places, slaves: slaves.ready }
        context.terminal.out(first ? await firstStartText(start) : laterStartText(start))
      }
      // A signal may stop what is still being told of: then its end is the answer, for a master that closes may never give one.
      await Promise.race([tellOf(await starting), ending])
      return await ending
    },
  })
}

interface Slaves extends Pick<Role, 'reload' | 'close'> {
  ready: ReadySlave[]
}

async function startBoth(roles: Roles, call: Call): Promise<{ master: RunningMaster; slaves: Slaves }> {
  const log = await call.context.createLog(String(call.values.logLevel))
  const master = await roles.startMaster(call.values, { log, localLink: true })
  try {
    return { master, slaves: await startSlaves(roles, call, master) }
  } catch (error) {
    await master.close()
    throw error
  }
}

async function startSlaves(roles: Roles, call: Call, master: RunningMaster): Promise<Slaves> {
  const { values, context, sources } = call
  const log = await context.createLog(String(values.logLevel))
  const count = Number(values.slaves)
  if (count === 1) {
    const settings = {
      ...values,
      master: [master.linkUrl],
      token: master.slaveToken,
    }
    const tokenFile = { flags: { tokenFile: [master.slaveTokenFile] }, env: {} }
    const slave = await roles.startSlave(settings, { log, readToken: () => readToken(tokenFile) })
    return { ready: [slave], reload: async () => slave.reload(), close: async () => slave.close() }
  }
  const supervisor = await startSlaveWorkers({
    count,
    options: roles.slaveOptions,
    values: values as unknown as SharedSettings,
    sources,
    common: { master: master.linkUrl, tokenFile: master.slaveTokenFile },
    program: context.program,
    log,
  })
  return {
    ready: supervisor.workers,
    reload: async () => supervisor.signal('SIGHUP'),
    close: async () => supervisor.close(),
  }
}
