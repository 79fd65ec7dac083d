// `sshoal user`: people. Their keys are in key.ts, what they may reach in grant.ts.
import { option } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { readPublicKey } from '../public-key-argument.ts'
import {
  cleared,
  clearOption,
  cutText,
  given,
  limitOption,
  removeVerb,
  showVerb,
  type Cut,
  type Kind,
} from '../record-verbs.ts'
import { segment, Session } from '../session.ts'
import { formatFields } from '../table.ts'
import { verb, type Group } from '../verb.ts'
import { describeKey, type UserKey } from './key.ts'

export interface User {
  id: string
  project?: string
  email: string
  login: string
  name?: string | null
  keys: UserKey[]
}

const users: Kind<User> = {
  noun: 'user',
  operand: { name: 'USER', describe: 'an id, a login or an e-mail' },
  route: '/users',
  describe: (user) =>
    formatFields([
      ['id', user.id],
      ['login', user.login],
      ['e-mail', user.email],
      ['name', user.name],
    ]) + user.keys.map((key) => `key     ${describeKey(key)}\n`).join(''),
}

const recordOptions = {
  login: option.text({ describe: 'short name; unset: what stands before the @', placeholder: 'NAME' }),
  name: option.text({ describe: 'name for people' }),
}

const create = verb({
  name: 'create',
  summary: 'add a person',
  operands: [{ name: 'EMAIL', describe: 'nobody else’s in the project' }],
  options: {
    ...recordOptions,
    key: option.texts({ describe: 'a public key line, or a file with one (repeatable)', placeholder: 'KEY' }),
    pool: option.texts({ describe: 'a pool that they may reach (repeatable)', placeholder: 'NAME' }),
    ...clientOptions,
  },
  examples: ['sshoal user create ann@example.com --key ~/.ssh/id_ed25519.pub --pool printers'],
  async run({ values, operands, context }) {
    const [email = ''] = operands
    const { login, name, pool } = values
    const session = new Session(values, context)
    const keys = given(values.key.map(readPublicKey))
    const json = { email, login, name, keys, pools: given(pool) }
    const user = await session.rest.call<User>('/users', { method: 'POST', json })
    return session.print(user, () => `user ${user.login} added, ${user.email}\n`)
  },
})

const ls = verb({
  name: 'ls',
  summary: 'list people',
  options: { ...limitOption('users'), ...clientOptions },
  async run({ values, context }) {
    const session = new Session(values, context)
    const answer = await session.pages<'users', User>('/users', 'users', {}, values.limit)
    return session.print(answer, ({ users }) =>
      session.table(
        [
          { header: 'login', value: (user) => user.login },
          { header: 'e-mail', value: (user) => user.email },
          { header: 'name', value: (user) => user.name },
          { header: 'keys', value: (user) => user.keys.length, right: true },
          { header: 'id', value: (user) => user.id },
        ],
        users,
      ),
    )
  },
})

const set = verb({
  name: 'set',
  summary: 'change what is known of a person',
  operands: [users.operand],
  options: {
    email: option.text({ describe: 'another e-mail address' }),
    ...recordOptions,
    ...clearOption(['name']),
    ...clientOptions,
  },
  examples: ['sshoal user set ann --email ann@example.org'],
  async run({ values, operands, context }) {
    const { email, login, name, clear } = values
    const session = new Session(values, context)
    const json = { email, login, name, ...cleared(clear) }
    const path = `${users.route}/${segment(operands[0] ?? '')}`
    return session.print(await session.rest.call<User>(path, { method: 'PATCH', json }), users.describe)
  },
})

const revoke = verb({
  name: 'revoke',
  summary: 'refuse all keys of a person and cut their visits; the grants stay for a new key',
  operands: [users.operand],
  options: { ...confirmOptions, ...clientOptions },
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    await session.confirm(`Refuse all keys of ${id} and cut their visits?`, values.yes)
    const path = `${users.route}/${segment(id)}/revoke`
    const answer = await session.rest.call<Cut | undefined>(path, { method: 'POST' })
    return session.print(
      answer,
      () => `all keys of ${id} removed${cutText(answer)}; add a new one with \`sshoal key add ${id}\`\n`,
    )
  },
})

export const user: Group = {
  name: 'user',
  summary: 'add people and look after them',
  members: [
    create,
    ls,
    showVerb(users),
    set,
    revoke,
    removeVerb(users, 'with all keys and grants, and cut their visits'),
  ],
}
