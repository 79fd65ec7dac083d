// A gate: a public name under which the slaves of a region, or all of them, let people through. No storing, no REST.
import { randomUUID } from 'node:crypto'

import { SshoalError } from '@sshoal/shared'

import type { Change, RecordRef } from '../store/store.ts'
import { readHost, readName, readPort, readRegion } from './name.ts'

export interface Gate {
  /** A UUID; never another's. */
  id: string
  project: string
  /** The id of the record. */
  name: string
  host: string
  port: number
  /** Missing: all slaves serve it. */
  region?: string
  /** ms since 1970. */
  createdAt: number
}

export interface GateSettings {
  host?: string
  port?: number
  region?: string | null
}

export const GATE = 'gate'
export const ATTACHMENT = 'attachment'
/** What the configuration calls the gate of those that are attached to none. */
export const DEFAULT_GATE = 'default'

/** Throws INVALID_NAME, INVALID_ADDRESS, INVALID_REGION. */
export function makeGate(
  project: string,
  wanted: GateSettings & { name: string; host: string },
  now: number,
): Gate {
  const name = readName(wanted.name, 'gate')
  if (name === DEFAULT_GATE)
    throw new SshoalError('INVALID_NAME', `the gate "${DEFAULT_GATE}" is that of --gate-host`)
  return changeGate({ id: randomUUID(), project, name, host: '', port: 22, createdAt: now }, wanted)
}

/** Throws as `makeGate`. */
export function changeGate(gate: Gate, { host, port, region }: GateSettings): Gate {
  const { region: before, ...rest } = gate
  const after = region === undefined ? before : region === null ? undefined : readRegion(region)
  return {
    ...rest,
    host: host === undefined ? gate.host : readHost(host),
    port: port === undefined ? gate.port : readPort(port),
    ...(after === undefined ? {} : { region: after }),
  }
}

/** Does a slave of this region serve it? */
export function serves(gate: Gate, region: string | undefined): boolean {
  return gate.region === undefined || gate.region === region
}

export function gateRef(project: string, name: string): RecordRef {
  return { kind: GATE, project, id: name }
}

export function putGate(gate: Gate, expect: 'absent' | number): Change {
  return { type: 'put', ref: gateRef(gate.project, gate.name), value: gate, expect }
}

export function attachmentRef(gate: Gate, target: string): RecordRef {
  return { kind: ATTACHMENT, project: gate.project, id: `${gate.id}.${target}` }
}
