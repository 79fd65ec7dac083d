// `sshoal ssh`: a target in one step: asks for the configuration, and runs the person's own ssh with it.
import { SshoalError } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { Session } from '../session.ts'
import { fetchSshConfiguration, hasBlock, sshConfigurationOptions } from '../ssh-configuration.ts'
import { withSshFiles } from '../ssh-run.ts'
import { verb } from '../verb.ts'

export const ssh = verb({
  name: 'ssh',
  summary: 'log in to a target through the gate, with the ssh of this machine',
  operands: [
    { name: 'TARGET', describe: 'its name, or ACCOUNT@NAME; everything after it goes to ssh as it is' },
  ],
  passThrough: true,
  options: { ...sshConfigurationOptions, ...clientOptions },
  examples: ['sshoal ssh door-7', 'sshoal ssh --identity ~/.ssh/work door-7 -L 8080:localhost:80 uptime'],
  async run({ values, operands, context }) {
    const [destination = '', ...more] = operands
    const at = destination.lastIndexOf('@') + 1
    // ssh tells cases apart where it looks up its configuration; names of targets do not.
    const name = destination.slice(at).toLowerCase()
    if (!/^[a-z0-9][a-z0-9.-]{0,190}$/.test(name))
      throw new SshoalError('INVALID_VALUE', `${JSON.stringify(name)} is not the name of a target`)
    const session = new Session(values, context)
    const configuration = await fetchSshConfiguration(session, values)
    // Who may not reach it is told so by the gate, in its own words.
    const way = hasBlock(configuration, name) ? [] : ['-J', configuration.gate.name]
    return withSshFiles(configuration, context.env, async ({ config }) =>
      context.attach('ssh', ['-F', config, ...way, destination.slice(0, at) + name, ...more]),
    )
  },
})
