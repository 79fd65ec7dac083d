// `sshoal pool`: sets of targets that are granted together; members by name, by a selector, or both.
import { option, SshoalError, type Values } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { cleared, clearOption, given, limitOption, removeVerb, showVerb, type Kind } from '../record-verbs.ts'
import { segment, Session } from '../session.ts'
import { formatFields } from '../table.ts'
import { verb, type Group } from '../verb.ts'

export interface Selector {
  region?: string | null
  details?: Record<string, unknown>
}

export interface Pool {
  name: string
  title?: string | null
  /** By hand, the first of them. */
  members: string[]
  /** There are more. */
  more?: boolean
  selector?: Selector | null
}

const pools: Kind<Pool> = {
  noun: 'pool',
  operand: { name: 'POOL', describe: 'its name' },
  route: '/pools',
  describe: (pool) =>
    formatFields([
      ['pool', pool.name],
      ['title', pool.title],
      ['selector', selectorText(pool.selector)],
      ['members', membersText(pool)],
    ]) +
    pool.members.map((member) => `  ${member}\n`).join('') +
    (pool.more ? `  … all of them: \`sshoal target ls --pool ${pool.name}\`\n` : ''),
}

/** Those by hand alone. */
function membersText({ members, more }: Pool): string {
  return `${members.length}${more ? '+' : ''}`
}

function selectorText(selector: Selector | null | undefined): string | undefined {
  if (!selector) return undefined
  const { region, details = {} } = selector
  return [
    ...(region ? [`region ${region}`] : []),
    ...Object.entries(details).map(
      ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
    ),
  ].join(', ')
}

const recordOptions = {
  title: option.text({ describe: 'name for people' }),
  region: option.text({ describe: 'selects every target of this region', placeholder: 'NAME' }),
  detail: option.texts({
    describe: 'selects the devices of which the hook says this (repeatable: all of them)',
    placeholder: 'NAME=VALUE',
    check(text) {
      if (/^[^=]+=/.test(text)) return text
      throw new SshoalError('INVALID_VALUE', `"${text}" is not NAME=VALUE`)
    },
  }),
}

function selectorOf({ region, detail }: Values<typeof recordOptions>): Selector | undefined {
  if (region === undefined && detail.length === 0) return undefined
  const details = Object.fromEntries(
    detail.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]),
  )
  return { ...(region === undefined ? {} : { region }), ...(detail.length > 0 ? { details } : {}) }
}

const create = verb({
  name: 'create',
  summary: 'make a pool, with members and with people who may reach it',
  operands: [{ name: 'NAME', describe: 'letters, digits and hyphens' }],
  options: {
    ...recordOptions,
    target: option.texts({ describe: 'a member (repeatable)', placeholder: 'NAME' }),
    user: option.texts({ describe: 'a person who may reach it (repeatable)', placeholder: 'USER' }),
    ...clientOptions,
  },
  examples: [
    'sshoal pool create printers --target door-7 --target door-8 --user ann',
    'sshoal pool create europe --region eu',
  ],
  async run({ values, operands, context }) {
    const [name = ''] = operands
    const session = new Session(values, context)
    const { title, target, user } = values
    const json = { name, title, members: given(target), selector: selectorOf(values), users: given(user) }
    const answer = await session.rest.call<Pool>(pools.route, { method: 'POST', json })
    return session.print(answer, () => `pool ${name} made\n`)
  },
})

const ls = verb({
  name: 'ls',
  summary: 'list pools',
  options: { ...limitOption('pools'), ...clientOptions },
  async run({ values, context }) {
    const session = new Session(values, context)
    const answer = await session.pages<'pools', Pool>(pools.route, 'pools', {}, values.limit)
    return session.print(answer, (page) =>
      session.table(
        [
          { header: 'pool', value: (pool) => pool.name },
          { header: 'title', value: (pool) => pool.title },
          { header: 'members', value: membersText, right: true },
          { header: 'selector', value: (pool) => selectorText(pool.selector) },
        ],
        page.pools,
      ),
    )
  },
})

const set = verb({
  name: 'set',
  summary: 'change the title or the selector of a pool',
  operands: [pools.operand],
  options: { ...recordOptions, ...clearOption(['title', 'selector']), ...clientOptions },
  examples: ['sshoal pool set europe --region eu --detail model=x2'],
  async run({ values, operands, context }) {
    const session = new Session(values, context)
    const json = { title: values.title, selector: selectorOf(values), ...cleared(values.clear) }
    const path = `${pools.route}/${segment(operands[0] ?? '')}`
    return session.print(await session.rest.call<Pool>(path, { method: 'PATCH', json }), pools.describe)
  },
})

const TARGETS = { name: 'TARGET', describe: 'as `sshoal target ls` shows it', many: true }

const add = verb({
  name: 'add',
  summary: 'add targets to a pool',
  operands: [pools.operand, TARGETS],
  options: clientOptions,
  examples: ['sshoal pool add printers door-7 door-8'],
  async run({ values, operands, context }) {
    const [name = '', ...targets] = operands
    const session = new Session(values, context)
    let answer: unknown
    for (const target of targets)
      answer = await session.rest.call(`${pools.route}/${segment(name)}/members`, {
        method: 'POST',
        json: { target },
      })
    return session.print(answer, () => `${targets.join(', ')} added to ${name}\n`)
  },
})

const remove = verb({
  name: 'remove',
  summary: 'take targets out of a pool, and cut visits that nothing else allows',
  operands: [pools.operand, TARGETS],
  options: { ...confirmOptions, ...clientOptions },
  examples: ['sshoal pool remove printers door-7'],
  async run({ values, operands, context }) {
    const [name = '', ...targets] = operands
    const session = new Session(values, context)
    await session.confirm(`Take ${targets.join(', ')} out of ${name}?`, values.yes)
    let answer: unknown
    for (const target of targets)
      answer = await session.rest.call(`${pools.route}/${segment(name)}/members/${segment(target)}`, {
        method: 'DELETE',
      })
    return session.print(answer, () => `${targets.join(', ')} taken out of ${name}\n`)
  },
})

export const pool: Group = {
  name: 'pool',
  summary: 'put targets together, to grant them together',
  members: [
    create,
    ls,
    showVerb(pools),
    set,
    add,
    remove,
    removeVerb(pools, 'and its grants, and cut visits that nothing else allows'),
  ],
}
