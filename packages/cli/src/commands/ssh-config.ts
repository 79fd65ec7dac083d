// `sshoal ssh-config`: the files with which the ssh that everybody has reaches targets by name.
import { join } from 'node:path'

import { option, SshoalError } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { Session } from '../session.ts'
import { countTargets, fetchSshConfiguration, sshConfigurationOptions } from '../ssh-configuration.ts'
import { installSshFiles, uninstallSshFiles, writeSshFiles } from '../ssh-installation.ts'
import { verb } from '../verb.ts'

export const sshConfig = verb({
  name: 'ssh-config',
  summary: 'write what ssh needs to reach targets by name; without a switch print the configuration',
  options: {
    install: option.toggle({ describe: 'write it below ~/.ssh and add one Include to ~/.ssh/config' }),
    uninstall: option.toggle({ describe: 'take away what --install made' }),
    write: option.text({ describe: 'write the files config and known_hosts there', placeholder: 'DIR' }),
    knownHosts: option.toggle({ describe: 'print the host keys in place of the configuration' }),
    ...sshConfigurationOptions,
    ...clientOptions,
  },
  examples: [
    'sshoal ssh-config --install && ssh door-7',
    'sshoal ssh-config --write gate --user ann && ssh -F gate/config door-7',
  ],
  async run({ values, context }) {
    const { install, uninstall, write, knownHosts } = values
    if ([install, uninstall, write !== undefined, knownHosts].filter(Boolean).length > 1)
      throw new SshoalError('INVALID_VALUE', 'say one of --install, --uninstall, --write and --known-hosts')
    const session = new Session(values, context)
    const { terminal, env, cwd } = context
    if (uninstall) {
      const found = uninstallSshFiles(sshDirOf(env))
      terminal.out(found ? 'taken away\n' : 'nothing was installed\n')
      return 0
    }
    const configuration = await fetchSshConfiguration(session, values)
    if (!install && write === undefined)
      return session.print(configuration, (answer) => (knownHosts ? answer.knownHosts : answer.config))
    const files =
      write === undefined
        ? installSshFiles(sshDirOf(env), configuration)
        : writeSshFiles(join(cwd, write), configuration)
    return session.print(configuration, () => {
      const count = countTargets(configuration)
      const say = write === undefined ? 'ssh TARGET' : `ssh -F ${files.config} TARGET`
      return `${count} ${count === 1 ? 'target' : 'targets'} in ${files.config}: ${say}\n`
    })
  },
})

function sshDirOf(env: Record<string, string | undefined>): string {
  if (env.HOME === undefined || env.HOME === '')
    throw new SshoalError('NO_HOME', 'HOME is not set; say where with --write DIR')
  return join(env.HOME, '.ssh')
}
