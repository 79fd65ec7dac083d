// `sshoal grant`: who may reach which pool or target, by which ports or forwards, as which account, until when.
import { option, SshoalError } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { cleared, clearOption, given, limitOption, removeVerb, showVerb, type Kind } from '../record-verbs.ts'
import { segment, Session } from '../session.ts'
import { formatFields } from '../table.ts'
import { readMoment, relativeTime } from '../time-text.ts'
import { verb, type Group } from '../verb.ts'

export interface Grant {
  id: string
  user: string
  login?: string
  pool?: string | null
  target?: string | null
  account?: string | null
  forwards: string[]
  until?: string | null
}

const grants: Kind<Grant> = {
  noun: 'grant',
  operand: { name: 'GRANT', describe: 'as `sshoal grant ls` shows it' },
  route: '/grants',
  describe: (grant) =>
    formatFields([
      ['grant', grant.id],
      ['user', whoText(grant)],
      ['may reach', whatText(grant)],
      ['forwards', grant.forwards.join(', ')],
      ['account', grant.account],
      ['until', grant.until ?? 'revoked'],
    ]),
}

function whoText({ user, login }: Grant): string {
  return login ?? user
}

function whatText({ pool, target }: Grant): string {
  return pool ? `pool ${pool}` : `target ${target ?? '-'}`
}

const recordOptions = {
  account: option.text({
    describe: 'the account on the target, written into their configuration as User',
    placeholder: 'NAME',
  }),
  forward: option.texts({
    describe: 'a port of the target, the name of one of its forwards, or * (repeatable); unset: 22',
    placeholder: 'PORT|NAME',
  }),
  until: option.text({
    describe: 'when it ends: a duration from now, such as 8h, or a date; unset: never',
    placeholder: 'WHEN',
  }),
}

const create = verb({
  name: 'create',
  summary: 'let a person reach a pool or a target',
  operands: [{ name: 'USER', describe: 'an id, a login or an e-mail' }],
  options: {
    pool: option.text({ describe: 'all targets of this pool', placeholder: 'NAME' }),
    target: option.text({ describe: 'this target', placeholder: 'NAME' }),
    ...recordOptions,
    ...clientOptions,
  },
  examples: [
    'sshoal grant create ann --pool printers --account root',
    'sshoal grant create ann --target door-7 --forward 22 --forward web --until 8h',
  ],
  async run({ values, operands, context }) {
    const [user = ''] = operands
    const { pool, target, account, forward } = values
    if ((pool === undefined) === (target === undefined))
      throw new SshoalError('INVALID_VALUE', 'say either --pool or --target')
    const session = new Session(values, context)
    const until = values.until === undefined ? undefined : readMoment(values.until, '--until')
    const json = { user, pool, target, account, forwards: given(forward), until }
    const answer = await session.rest.call<Grant>(grants.route, { method: 'POST', json })
    return session.print(answer, (grant) => `grant ${grant.id}: ${user} may reach ${whatText(grant)}\n`)
  },
})

const ls = verb({
  name: 'ls',
  summary: 'list who may reach what',
  options: {
    user: option.text({ describe: 'only of this person' }),
    pool: option.text({ describe: 'only of this pool', placeholder: 'NAME' }),
    target: option.text({ describe: 'only of this target itself', placeholder: 'NAME' }),
    ...limitOption('grants'),
    ...clientOptions,
  },
  examples: ['sshoal grant ls --user ann'],
  async run({ values, context }) {
    const session = new Session(values, context)
    const { user, pool, target, limit } = values
    const query = { user, pool, target }
    const answer = await session.pages<'grants', Grant>(grants.route, 'grants', query, limit)
    return session.print(answer, (page) =>
      session.table(
        [
          { header: 'user', value: whoText },
          { header: 'may reach', value: whatText },
          { header: 'forwards', value: (grant) => grant.forwards.join(',') },
          { header: 'account', value: (grant) => grant.account },
          { header: 'ends', value: (grant) => relativeTime(grant.until) },
          { header: 'grant', value: (grant) => grant.id },
        ],
        page.grants,
      ),
    )
  },
})

const set = verb({
  name: 'set',
  summary: 'change the account, the forwards or the end of a grant',
  operands: [grants.operand],
  options: { ...recordOptions, ...clearOption(['account', 'until']), ...clientOptions },
  async run({ values, operands, context }) {
    const session = new Session(values, context)
    const json = {
      account: values.account,
      forwards: given(values.forward),
      until: values.until === undefined ? undefined : readMoment(values.until, '--until'),
      ...cleared(values.clear),
    }
    const path = `${grants.route}/${segment(operands[0] ?? '')}`
    return session.print(await session.rest.call<Grant>(path, { method: 'PATCH', json }), grants.describe)
  },
})

export const grant: Group = {
  name: 'grant',
  summary: 'let people reach pools and targets',
  members: [create, ls, showVerb(grants), set, removeVerb(grants, 'and cut visits that nothing else allows')],
}
