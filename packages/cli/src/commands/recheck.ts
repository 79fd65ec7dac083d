import { clientOptions } from '../client-options.ts'
// `sshoal recheck KEY…`: have the hook asked again about keys, and what it now refuses cut.
import { readPublicKey } from '../public-key-argument.ts'
import { Session } from '../session.ts'
import { verb } from '../verb.ts'

export const recheck = verb({
  name: 'recheck',
  summary: 'ask the hook again about keys; cut what it now refuses',
  operands: [{ name: 'KEY', describe: 'a public key line, or a file with one', many: true }],
  options: clientOptions,
  examples: ['sshoal recheck door-7.pub'],
  async run({ values, operands, context }) {
    const session = new Session(values, context)
    const keys = operands.map(readPublicKey)
    const answer = await session.rest.call<{ cut?: number }>('/recheck', { method: 'POST', json: { keys } })
    return session.print(answer, () => `${keys.length} rechecked, ${answer.cut ?? 0} tunnels cut\n`)
  },
})
