import { clientOptions } from '../client-options.ts'
// `sshoal recheck KEY…`: have the hook asked again about keys, and what it now refuses cut.
import { readPublicKey } from '../public-key-argument.ts'
import { Session } from '../session.ts'
import { verb } from '../verb.ts'

export const recheck = verb({
  name: 'recheck',
  summary: 'ask the hook again about keys; cut what it now refuses',
  operands: [
    { name: 'KEY', describe: 'a public key line, a file with one, or a SHA256:… fingerprint', many: true },
  ],
  options: clientOptions,
  examples: ['sshoal recheck door-7.pub'],
  async run({ values, operands, context }) {
    const session = new Session(values, context)
    const keys = operands.map((key) => (key.startsWith('SHA256:') ? key : readPublicKey(key)))
    const answer = await session.rest.call<{ cut: number }>('/recheck', { method: 'POST', json: { keys } })
    return session.print(answer, () => `rechecked ${keys.length}, tunnels cut ${answer.cut}\n`)
  },
})
