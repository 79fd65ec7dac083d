// Gates: public names, and which targets are reached through them alone.
import { SshoalError } from '@sshoal/shared'

import type { Conflict } from '../store/store.ts'
import type { Directory, Page } from './directory.ts'
import {
  ATTACHMENT,
  attachmentRef,
  changeGate,
  GATE,
  gateRef,
  makeGate,
  putGate,
  type Gate,
  type GateSettings,
} from './gate.ts'
import type { Actor, Entry, Ledger } from './ledger.ts'
import type { Revocation } from './revocation.ts'
import { putTarget, type Target } from './target.ts'
import type { Targets } from './targets.ts'

export interface GatesDeps {
  ledger: Ledger
  directory: Directory
  revocation: Revocation
  targets: Targets
}

const MAX_GATES_OF_TARGET = 64

export class Gates {
  readonly #deps: GatesDeps

  constructor(deps: GatesDeps) {
    this.#deps = deps
  }

  /** Throws INVALID_*, GATE_TAKEN. */
  create(project: string, wanted: GateSettings & { name: string; host: string }, by: Actor): Promise<Gate> {
    const { ledger } = this.#deps
    return ledger.change(async () => {
      const gate = makeGate(project, wanted, ledger.now())
      return {
        changes: [putGate(gate, 'absent')],
        entries: [entryOf('gate.created', gate, by, { after: shownGate(gate) })],
        result: gate,
        refuse: taken,
      }
    })
  }

  /** Throws UNKNOWN_GATE. */
  async get(project: string, name: string): Promise<Gate> {
    return (await this.#deps.directory.gate(project, name)).value
  }

  list(project: string, cursor: string | undefined, limit: number): Promise<Page<Gate>> {
    return this.#deps.directory.page<Gate>(GATE, project, cursor, limit)
  }

  /** Throws UNKNOWN_GATE, INVALID_*. */
  async change(project: string, name: string, settings: GateSettings, by: Actor): Promise<Gate> {
    const { ledger, directory, revocation, targets } = this.#deps
    const { result: after, number } = await ledger.revoke(async () => {
      const { value: before, version } = await directory.gate(project, name)
      const after = changeGate(before, settings)
      const told = { before: shownGate(before), after: shownGate(after) }
      return {
        changes: [putGate(after, version)],
        entries: [entryOf('gate.changed', after, by, told)],
        harmless: before.region === after.region,
        result: after,
      }
    })
    if (number === undefined) return after
    const concerned = new Set<string>()
    for await (const records of directory.pages(ATTACHMENT, project, `${after.id}.`))
      for (const { id } of records) {
        const target = await directory.findTarget(project, id.slice(after.id.length + 1))
        if (target) for (const one of await targets.coverers(target.value)) concerned.add(one)
      }
    await revocation.on(project, [...concerned], number)
    return after
  }

  /** Throws UNKNOWN_GATE, and IN_USE while targets are attached: they would else be open to every gate. */
  remove(project: string, name: string, by: Actor): Promise<void> {
    const { ledger, directory } = this.#deps
    return ledger.change(async () => {
      const { value: gate, version } = await directory.gate(project, name)
      const { records } = await ledger.store.scan({
        kind: ATTACHMENT,
        project,
        prefix: `${gate.id}.`,
        limit: 1,
      })
      const [first] = records
      if (first)
        throw new SshoalError(
          'IN_USE',
          `targets are reached through ${gate.name} alone, such as ${first.id.slice(gate.id.length + 1)}: detach them first`,
        )
      return {
        changes: [{ type: 'remove', ref: gateRef(project, gate.name), expect: version }],
        entries: [entryOf('gate.removed', gate, by, { before: shownGate(gate) })],
        result: undefined,
      }
    })
  }

  /** One that is there already changes nothing. Throws UNKNOWN_GATE, UNKNOWN_TARGET. */
  async attach(project: string, name: string, text: string, by: Actor): Promise<Target> {
    const { ledger, directory, revocation, targets } = this.#deps
    const { result: target, number } = await ledger.revoke(async () => {
      const { value: gate, version: gateVersion } = await directory.gate(project, name)
      const { value: target, version } = await directory.target(project, text)
      if (target.gates.includes(gate.name)) return { changes: [], entries: [], result: target }
      if (target.gates.length >= MAX_GATES_OF_TARGET)
        throw new SshoalError(
          'INVALID_GATE',
          `${target.name} is attached to ${MAX_GATES_OF_TARGET} gates already`,
        )
      const after = { ...target, gates: [...target.gates, gate.name].sort() }
      return {
        changes: [
          putTarget(after, version),
          { type: 'put', ref: attachmentRef(gate, target.name), value: {} },
          // Written as it is, so that nobody removes it between the two.
          putGate(gate, gateVersion),
        ],
        entries: [entryOf('gate.attached', gate, by, { target: target.name })],
        result: after,
      }
    })
    // The first gate closes all others.
    if (number !== undefined) await revocation.on(project, await targets.coverers(target), number)
    return target
  }

  /** Throws UNKNOWN_GATE, UNKNOWN_TARGET, NOT_ATTACHED. */
  async detach(project: string, name: string, text: string, by: Actor): Promise<void> {
    const { ledger, directory, revocation, targets } = this.#deps
    const { result: target, number } = await ledger.revoke(async () => {
      const { value: gate } = await directory.gate(project, name)
      const { value: target, version } = await directory.target(project, text)
      if (!target.gates.includes(gate.name))
        throw new SshoalError('NOT_ATTACHED', `${target.name} is not attached to ${gate.name}`)
      const after = { ...target, gates: target.gates.filter((one) => one !== gate.name) }
      return {
        changes: [putTarget(after, version), { type: 'remove', ref: attachmentRef(gate, target.name) }],
        entries: [entryOf('gate.detached', gate, by, { target: target.name })],
        result: after,
      }
    })
    await revocation.on(project, await targets.coverers(target), number)
  }
}

function entryOf(type: string, { project, name }: Gate, by: Actor, more: Partial<Entry>): Entry {
  return { project, type, by, gate: name, ...more }
}

function shownGate({ host, port, region }: Gate): object {
  return { host, port, ...(region === undefined ? {} : { region }) }
}

function taken(conflict: Conflict): SshoalError | undefined {
  return conflict.reason === 'exists'
    ? new SshoalError('GATE_TAKEN', `there is a gate "${conflict.ref.id}" already`)
    : undefined
}
