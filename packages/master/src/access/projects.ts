// Projects: there as soon as something is in them; a record only says more. A closed one lets nobody through.
import { DEFAULT_PROJECT, SshoalError } from '@sshoal/shared'

import { formatCursor, type Conflict, type RecordRef, type Store } from '../store/store.ts'
import { ALL_PROJECTS } from '../tokens/token.ts'
import type { Directory } from './directory.ts'
import { GRANT } from './grant.ts'
import type { Actor, Entry, Ledger } from './ledger.ts'
import { readTitle } from './name.ts'
import { POOL } from './pool.ts'
import type { Revocation } from './revocation.ts'
import { TARGET } from './target.ts'
import { USER, type User } from './user.ts'

export interface Project {
  id: string
  name?: string
  state: 'active' | 'closed'
}

export interface ProjectSettings {
  name?: string | null
  state?: 'active' | 'closed'
}

export interface ProjectsDeps {
  ledger: Ledger
  directory: Directory
  revocation: Revocation
}

const PROJECT = 'project'
/** Behind every id of what is in a project. */
const BEHIND_ALL = '~'

export class Projects {
  readonly #deps: ProjectsDeps

  constructor(deps: ProjectsDeps) {
    this.#deps = deps
  }

  /** Throws INVALID_NAME, PROJECT_TAKEN. */
  create(wanted: ProjectSettings & { id: string }, by: Actor): Promise<Project> {
    return this.#deps.ledger.change(async () => {
      if (!/^[a-z0-9-]{1,63}$/.test(wanted.id))
        throw new SshoalError('INVALID_NAME', 'the id of a project is 1 to 63 of a-z, 0-9 and -')
      const project = changeProject({ id: wanted.id, state: 'active' }, wanted)
      return {
        changes: [{ type: 'put', ref: refOf(project.id), value: project, expect: 'absent' }],
        entries: [entryOf('project.created', project.id, by, { after: project })],
        result: project,
        refuse: taken,
      }
    })
  }

  /** One without a record is active. Throws UNKNOWN_PROJECT where there is nothing of that name. */
  async get(id: string): Promise<Project> {
    const found = await this.#deps.directory.store.get<Project>(refOf(id))
    if (found) return found.value
    if (id === DEFAULT_PROJECT || (await this.#isThere(id))) return { id, state: 'active' }
    throw new SshoalError('UNKNOWN_PROJECT', `there is no project ${JSON.stringify(id.slice(0, 80))}`)
  }

  /** One's own is there. */
  async getOrActive(id: string): Promise<Project> {
    const found = await this.#deps.directory.store.get<Project>(refOf(id))
    return found?.value ?? { id, state: 'active' }
  }

  async isClosed(id: string): Promise<boolean> {
    return (await this.#deps.directory.store.get<Project>(refOf(id)))?.value.state === 'closed'
  }

  /** Those with a record, and those in which there is somebody or something. */
  async list(): Promise<Project[]> {
    const { directory } = this.#deps
    const records = await directory.all<Project>(PROJECT, ALL_PROJECTS)
    const known = new Map(records.map(({ value }) => [value.id, value]))
    for (const kind of [TARGET, USER, POOL])
      for (const id of await projectsWith(directory.store, kind))
        if (!known.has(id)) known.set(id, { id, state: 'active' })
    return [...known.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** Makes the record where there is none. Throws UNKNOWN_PROJECT, INVALID_NAME. */
  async change(id: string, settings: ProjectSettings, by: Actor): Promise<Project> {
    const { ledger, directory, revocation } = this.#deps
    const { result: after, number } = await ledger.revoke(async () => {
      const found = await directory.store.get<Project>(refOf(id))
      const before = found?.value ?? (await this.get(id))
      const after = changeProject(before, settings)
      return {
        changes: [{ type: 'put', ref: refOf(id), value: after, expect: found?.version ?? 'absent' }],
        entries: [entryOf('project.changed', id, by, { before, after })],
        harmless: before.state === after.state,
        result: after,
      }
    })
    if (number !== undefined) await this.#revoke(revocation, id, number)
    return after
  }

  /** The record alone. Throws UNKNOWN_PROJECT, IN_USE where there is something in it. */
  remove(id: string, by: Actor): Promise<void> {
    const { ledger, directory } = this.#deps
    return ledger.change(async () => {
      const found = await directory.store.get<Project>(refOf(id))
      if (await this.#isThere(id))
        throw new SshoalError(
          'IN_USE',
          `there are users, pools or targets in ${id}: remove them first, or close it`,
        )
      if (!found)
        throw new SshoalError('UNKNOWN_PROJECT', `there is no project ${JSON.stringify(id.slice(0, 80))}`)
      return {
        changes: [{ type: 'remove', ref: refOf(id), expect: found.version }],
        entries: [entryOf('project.removed', id, by, { before: found.value })],
        result: undefined,
      }
    })
  }

  async #revoke(revocation: Revocation, id: string, number: number): Promise<void> {
    const keys: string[] = []
    for await (const records of this.#deps.directory.pages<User>(USER, id))
      for (const { value } of records) keys.push(...value.keys.map(({ fingerprint }) => fingerprint))
    await revocation.keys(keys, number)
  }

  async #isThere(id: string): Promise<boolean> {
    for (const kind of [USER, TARGET, POOL, GRANT])
      if ((await this.#deps.directory.store.scan({ kind, project: id, limit: 1 })).records.length > 0)
        return true
    return false
  }
}

/** From one project to the next, without reading what is in them. */
export async function projectsWith(store: Pick<Store, 'scan'>, kind: string): Promise<string[]> {
  const found: string[] = []
  for (;;) {
    const last = found.at(-1)
    const after = last === undefined ? {} : { after: formatCursor({ project: last, id: BEHIND_ALL }) }
    const [first] = (await store.scan({ kind, limit: 1, ...after })).records
    if (!first) return found
    found.push(first.project)
  }
}

function changeProject(project: Project, { name, state }: ProjectSettings): Project {
  const { name: before, ...rest } = project
  const after = name === undefined ? before : name === null ? undefined : readTitle(name, 'a name')
  return { ...rest, state: state ?? project.state, ...(after === undefined ? {} : { name: after }) }
}

function refOf(id: string): RecordRef {
  return { kind: PROJECT, project: ALL_PROJECTS, id }
}

function entryOf(type: string, project: string, by: Actor, more: Partial<Entry>): Entry {
  return { project, type, by, ...more }
}

function taken(conflict: Conflict): SshoalError | undefined {
  return conflict.reason === 'exists'
    ? new SshoalError('PROJECT_TAKEN', `there is a project "${conflict.ref.id}" already`)
    : undefined
}
