// `sshoal slave drain`: empty a slave without cutting its devices, before it is stopped or updated.
import { option } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { segment, Session } from '../session.ts'
import { verb } from '../verb.ts'

export const slaveDrain = verb({
  name: 'drain',
  summary: 'place no more devices on a slave and move its own away',
  operands: [{ name: 'ID', describe: 'the slave, as `sshoal cluster` shows it' }],
  options: {
    over: option.duration({
      describe: 'time over which the devices are moved',
      fallback: '60s',
      maximum: 86_400_000,
    }),
    ...clientOptions,
  },
  examples: ['sshoal slave drain eu-1 --over 60s'],
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    const answer = await session.rest.call<{ tunnels: number }>(`/cluster/slaves/${segment(id)}/drain`, {
      method: 'POST',
      json: { seconds: Math.ceil(values.over / 1_000) },
    })
    return session.print(answer, () => `${id} is draining, tunnels to move ${answer.tunnels}\n`)
  },
})
