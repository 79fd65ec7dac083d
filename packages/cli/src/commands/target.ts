// `sshoal target`: what people can reach. Every device is a target by itself; hosts are added here.
import { option } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { readPlace } from '../place-argument.ts'
import { readPublicKey } from '../public-key-argument.ts'
import { cleared, clearOption, given, limitOption, removeVerb, showVerb } from '../record-verbs.ts'
import { segment, Session } from '../session.ts'
import { verb, type Group } from '../verb.ts'
import { targetPin } from './target-pin.ts'
import { onlineText, placeText, targets, type Target } from './target-record.ts'

const create = verb({
  name: 'create',
  summary: 'add a host that slaves of a region dial; devices are targets by themselves',
  operands: [
    { name: 'NAME', describe: 'letters, digits and hyphens' },
    { name: 'ADDRESS', describe: 'where slaves dial it: HOST or HOST:PORT (22)' },
  ],
  options: {
    region: option.text({ describe: 'of the slaves that dial it', placeholder: 'NAME' }),
    hostKey: option.texts({
      describe: 'a host key to pin, a line or a file (repeatable)',
      placeholder: 'KEY',
    }),
    ...clientOptions,
  },
  examples: ['sshoal target create rack-switch 10.1.2.3 --region eu'],
  async run({ values, operands, context }) {
    const [name = '', at = ''] = operands
    const session = new Session(values, context)
    const json = {
      name,
      ...addressOf(at),
      region: values.region,
      hostKeys: given(values.hostKey.map(readPublicKey)),
    }
    const answer = await session.rest.call<Target>(targets.route, { method: 'POST', json })
    return session.print(answer, (target) => `target ${target.name} added, ${placeText(target)}\n`)
  },
})

/** As REST takes it. */
function addressOf(text: string): { address: string; port?: number } {
  const { host, port } = readPlace(text)
  return { address: host, ...(port === undefined ? {} : { port }) }
}

const ls = verb({
  name: 'ls',
  summary: 'list what people can be let to reach',
  options: {
    q: option.text({ describe: 'only those with this in their name or device', placeholder: 'TEXT' }),
    pool: option.text({ describe: 'only members of this pool', placeholder: 'NAME' }),
    gate: option.text({ describe: 'only those attached to this gate', placeholder: 'NAME' }),
    kind: option.text({ describe: 'only devices or only hosts', placeholder: 'device|host' }),
    ...limitOption('targets'),
    ...clientOptions,
  },
  examples: ['sshoal target ls --pool printers'],
  async run({ values, context }) {
    const session = new Session(values, context)
    const { q, pool, gate, kind, limit } = values
    const query = { q, pool, gate, kind }
    const answer = await session.pages<'targets', Target>(targets.route, 'targets', query, limit)
    return session.print(answer, (page) =>
      session.table(
        [
          { header: 'target', value: (target) => target.name },
          { header: 'is', value: placeText },
          { header: 'region', value: (target) => target.region },
          { header: 'gates', value: (target) => target.gates.join(',') },
          { header: 'pinned', value: (target) => target.hostKeys.length, right: true },
          { header: 'online', value: onlineText },
        ],
        page.targets,
      ),
    )
  },
})

const set = verb({
  name: 'set',
  summary: 'change where a host target is, or its region; a device target has both from its device',
  operands: [targets.operand],
  options: {
    address: option.text({ describe: 'where slaves dial it: HOST or HOST:PORT', placeholder: 'ADDRESS' }),
    region: option.text({ describe: 'of the slaves that dial it', placeholder: 'NAME' }),
    ...clearOption(['region', 'hostKeys']),
    ...clientOptions,
  },
  examples: [
    'sshoal target set rack-switch --address 10.1.2.4:2222',
    'sshoal target set door-7 --clear hostKeys',
  ],
  async run({ values, operands, context }) {
    const session = new Session(values, context)
    const { address, region, clear } = values
    const json = {
      ...(address === undefined ? {} : addressOf(address)),
      region,
      ...cleared(clear.filter((field) => field !== 'hostKeys')),
      ...(clear.includes('hostKeys') ? { hostKeys: [] } : {}),
    }
    const path = `${targets.route}/${segment(operands[0] ?? '')}`
    return session.print(await session.rest.call<Target>(path, { method: 'PATCH', json }), targets.describe)
  },
})

export const target: Group = {
  name: 'target',
  summary: 'look after what people can reach',
  members: [
    create,
    ls,
    showVerb(targets),
    set,
    targetPin,
    removeVerb(targets, 'with its grants, and cut its visits'),
  ],
}
