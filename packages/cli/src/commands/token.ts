// `sshoal token`: who may call REST and who may be a slave. A token is shown once, when it is made.
import { option } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { segment, Session } from '../session.ts'
import { readMoment, relativeTime } from '../time-text.ts'
import { verb, type Group } from '../verb.ts'

interface Token {
  id: string
  role: string
  project: string | null
  label: string | null
  createdAt: string
  expiresAt: string | null
}

const create = verb({
  name: 'create',
  summary: 'make a token and show it, once',
  options: {
    role: option.choice({
      describe: 'what its bearer may do',
      values: ['admin', 'operator', 'integrator', 'user', 'slave'] as const,
      fallback: 'operator',
    }),
    label: option.text({ describe: 'what it is for; unset: the role' }),
    expires: option.text({
      describe: 'when it ends: a duration from now, such as 90d, or a date; unset: never',
      placeholder: 'WHEN',
    }),
    user: option.text({ describe: 'for role user: whose it is; an id, a login or an e-mail' }),
    ...clientOptions,
  },
  examples: [
    'sshoal token create --role slave --label rack-2',
    'sshoal token create --role user --user ann',
    'sshoal token create --role operator --expires 90d',
  ],
  async run({ values, context }) {
    // The project is the token's, which may be `*`; the call itself concerns none.
    const session = new Session({ ...values, project: undefined }, context)
    const { role, label = role, project, user } = values
    const expiresAt = values.expires === undefined ? undefined : readMoment(values.expires, '--expires')
    const answer = await session.rest.call<Token & { token: string }>('/tokens', {
      method: 'POST',
      json: { role, label, project, expiresAt, user },
    })
    // The token alone on standard output, so that `> file` and `$(…)` get just it.
    return session.print(answer, ({ token, id }) => {
      context.terminal.err(`token ${id}; it is shown only now:\n`)
      return `${token}\n`
    })
  },
})

const ls = verb({
  name: 'ls',
  summary: 'list the tokens, without what they are',
  options: clientOptions,
  async run({ values, context }) {
    const session = new Session(values, context)
    const answer = await session.rest.call<{ tokens: Token[] }>('/tokens')
    return session.print(answer, ({ tokens }) =>
      session.table(
        [
          { header: 'id', value: (token) => token.id },
          { header: 'role', value: (token) => token.role },
          { header: 'project', value: (token) => token.project ?? 'all' },
          { header: 'label', value: (token) => token.label },
          { header: 'made', value: (token) => relativeTime(token.createdAt) },
          { header: 'ends', value: (token) => relativeTime(token.expiresAt) },
        ],
        tokens,
      ),
    )
  },
})

const revoke = verb({
  name: 'revoke',
  summary: 'end a token now, and close what it opened',
  operands: [{ name: 'ID', describe: 'as `sshoal token ls` shows it' }],
  options: { ...confirmOptions, ...clientOptions },
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    await session.confirm(`Revoke token ${id} and close what it opened?`, values.yes)
    const answer = await session.rest.call(`/tokens/${segment(id)}`, { method: 'DELETE' })
    return session.print(answer, () => `token ${id} revoked\n`)
  },
})

export const token: Group = {
  name: 'token',
  summary: 'make, list and revoke tokens for REST and for slaves',
  members: [create, ls, revoke],
}
