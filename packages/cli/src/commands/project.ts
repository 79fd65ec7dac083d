// `sshoal project`: tenants. A project is there as soon as something is in it; a record says more of it.
import { option } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { limitOption, removeVerb, showVerb, type Kind } from '../record-verbs.ts'
import { segment, Session } from '../session.ts'
import { formatFields } from '../table.ts'
import { verb, type Group } from '../verb.ts'

export interface Project {
  id: string
  name?: string | null
  state: 'active' | 'closed'
}

const projects: Kind<Project> = {
  noun: 'project',
  operand: { name: 'PROJECT', describe: 'its id' },
  route: '/projects',
  describe: (project) =>
    formatFields([
      ['project', project.id],
      ['name', project.name],
      ['state', project.state],
    ]),
}

const nameOption = { name: option.text({ describe: 'name for people' }) }

const create = verb({
  name: 'create',
  summary: 'name a project; one that is not named works all the same',
  operands: [{ name: 'ID', describe: 'letters, digits and hyphens' }],
  options: { ...nameOption, ...clientOptions },
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    const json = { id, name: values.name }
    const answer = await session.rest.call<Project>(projects.route, { method: 'POST', json })
    return session.print(answer, () => `project ${id} made\n`)
  },
})

const ls = verb({
  name: 'ls',
  summary: 'list the projects that have a record',
  options: { ...limitOption('projects'), ...clientOptions },
  async run({ values, context }) {
    const session = new Session(values, context)
    const answer = await session.pages<'projects', Project>(projects.route, 'projects', {}, values.limit)
    return session.print(answer, (page) =>
      session.table(
        [
          { header: 'project', value: (project) => project.id },
          { header: 'name', value: (project) => project.name },
          { header: 'state', value: (project) => project.state },
        ],
        page.projects,
      ),
    )
  },
})

const set = verb({
  name: 'set',
  summary: 'change the name of a project',
  operands: [projects.operand],
  options: { ...nameOption, ...clientOptions },
  async run({ values, operands, context }) {
    const session = new Session(values, context)
    const path = `${projects.route}/${segment(operands[0] ?? '')}`
    const json = { name: values.name }
    return session.print(await session.rest.call<Project>(path, { method: 'PATCH', json }), projects.describe)
  },
})

const close = verb({
  name: 'close',
  summary: 'let nobody of a project through the gate, and cut their visits; `open` undoes it',
  operands: [projects.operand],
  options: { ...confirmOptions, ...clientOptions },
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    await session.confirm(`Close project ${id} and cut the visits of its people?`, values.yes)
    const path = `${projects.route}/${segment(id)}`
    const answer = await session.rest.call(path, { method: 'PATCH', json: { state: 'closed' } })
    return session.print(answer, () => `project ${id} closed\n`)
  },
})

const open = verb({
  name: 'open',
  summary: 'let the people of a closed project through the gate again',
  operands: [projects.operand],
  options: clientOptions,
  async run({ values, operands, context }) {
    const [id = ''] = operands
    const session = new Session(values, context)
    const path = `${projects.route}/${segment(id)}`
    const answer = await session.rest.call(path, { method: 'PATCH', json: { state: 'active' } })
    return session.print(answer, () => `project ${id} open\n`)
  },
})

export const project: Group = {
  name: 'project',
  summary: 'name, close and open projects',
  members: [
    create,
    ls,
    showVerb(projects),
    set,
    close,
    open,
    removeVerb(projects, 'as a record; what is in it stays'),
  ],
}
