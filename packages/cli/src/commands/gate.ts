// `sshoal gate`: the public names by which people enter, and which targets are behind which.
import { formatHostPort, option } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { readPlace } from '../place-argument.ts'
import { cleared, clearOption, limitOption, removeVerb, showVerb, type Kind } from '../record-verbs.ts'
import { segment, Session } from '../session.ts'
import { formatFields } from '../table.ts'
import { verb, type Group } from '../verb.ts'

export interface Gate {
  name: string
  region?: string | null
  host: string
  port: number
}

const gates: Kind<Gate> = {
  noun: 'gate',
  operand: { name: 'GATE', describe: 'its name' },
  route: '/gates',
  describe: (gate) =>
    formatFields([
      ['gate', gate.name],
      ['people enter at', formatHostPort(gate.host, gate.port)],
      ['served by', servedText(gate)],
    ]),
}

function servedText({ region }: Gate): string {
  return region ? `slaves of region ${region}` : 'all slaves'
}

const recordOptions = {
  host: option.text({
    describe: 'the public name by which people reach its slaves, and the port where it is not 22',
    placeholder: 'HOST[:PORT]',
  }),
  region: option.text({ describe: 'of the slaves that serve it; unset: all', placeholder: 'NAME' }),
}

const create = verb({
  name: 'create',
  summary: 'make a gate: a public name of the slaves of one region, or of all',
  operands: [{ name: 'NAME', describe: 'letters, digits and hyphens' }],
  options: { ...recordOptions, ...clientOptions },
  examples: ['sshoal gate create eu --host eu.sshoal.example.com:2222 --region eu'],
  async run({ values, operands, context }) {
    const [name = ''] = operands
    const session = new Session(values, context)
    const json = { name, ...(values.host === undefined ? {} : readPlace(values.host)), region: values.region }
    const answer = await session.rest.call<Gate>(gates.route, { method: 'POST', json })
    return session.print(answer, (gate) => `gate ${gate.name} made, served by ${servedText(gate)}\n`)
  },
})

const ls = verb({
  name: 'ls',
  summary: 'list gates',
  options: { ...limitOption('gates'), ...clientOptions },
  async run({ values, context }) {
    const session = new Session(values, context)
    const answer = await session.pages<'gates', Gate>(gates.route, 'gates', {}, values.limit)
    return session.print(answer, (page) =>
      session.table(
        [
          { header: 'gate', value: (gate) => gate.name },
          { header: 'address', value: (gate) => formatHostPort(gate.host, gate.port) },
          { header: 'region', value: (gate) => gate.region },
        ],
        page.gates,
      ),
    )
  },
})

const set = verb({
  name: 'set',
  summary: 'change the public name or the region of a gate',
  operands: [gates.operand],
  options: { ...recordOptions, ...clearOption(['region']), ...clientOptions },
  async run({ values, operands, context }) {
    const session = new Session(values, context)
    const json = {
      ...(values.host === undefined ? {} : readPlace(values.host)),
      region: values.region,
      ...cleared(values.clear),
    }
    const path = `${gates.route}/${segment(operands[0] ?? '')}`
    return session.print(await session.rest.call<Gate>(path, { method: 'PATCH', json }), gates.describe)
  },
})

const TARGETS = { name: 'TARGET', describe: 'as `sshoal target ls` shows it', many: true }

const add = verb({
  name: 'add',
  summary: 'put targets behind a gate: they are then reached by their gates only',
  operands: [gates.operand, TARGETS],
  options: clientOptions,
  examples: ['sshoal gate add eu door-7'],
  async run({ values, operands, context }) {
    const [name = '', ...targets] = operands
    const session = new Session(values, context)
    let answer: unknown
    for (const target of targets)
      answer = await session.rest.call(`${gates.route}/${segment(name)}/targets`, {
        method: 'POST',
        json: { target },
      })
    return session.print(answer, () => `${targets.join(', ')} put behind ${name}\n`)
  },
})

const remove = verb({
  name: 'remove',
  summary: 'take targets away from behind a gate',
  operands: [gates.operand, TARGETS],
  options: { ...confirmOptions, ...clientOptions },
  async run({ values, operands, context }) {
    const [name = '', ...targets] = operands
    const session = new Session(values, context)
    await session.confirm(`Take ${targets.join(', ')} away from gate ${name}?`, values.yes)
    let answer: unknown
    for (const target of targets)
      answer = await session.rest.call(`${gates.route}/${segment(name)}/targets/${segment(target)}`, {
        method: 'DELETE',
      })
    return session.print(answer, () => `${targets.join(', ')} taken away from ${name}\n`)
  },
})

export const gate: Group = {
  name: 'gate',
  summary: 'name the ways in, and what is behind them',
  members: [
    create,
    ls,
    showVerb(gates),
    set,
    add,
    remove,
    removeVerb(gates, 'and let its targets go from it; people who entered by it need another'),
  ],
}
