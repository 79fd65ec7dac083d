// Many devices at once, one JSON object per line. A line is taken whole or not at all, and what is wrong is said by line.
import { errorText, SshoalError } from '@sshoal/shared'
import { Compile } from 'typebox/compile'

import { NewDeviceBody } from './device-body.ts'
import { changeDevice, makeDevice, type Device, type NewDevice } from './device.ts'
import type { Registry } from './registry.ts'

export interface ImportProblem {
  /** From 1; in a JSON array the number of the element. */
  line: number
  code: string
  error: string
}

export interface ImportReport {
  created: number
  /** Their ids, for the audit. */
  devices: string[]
  /** The device was there, with the same keys and settings. */
  unchanged: number
  problems: ImportProblem[]
}

export interface ImportLine {
  line: number
  /** Undefined: the line is not JSON. */
  value: unknown
}

const AT_ONCE = 200
const check = Compile(NewDeviceBody)

/** Splits JSON lines; empty lines count but say nothing. */
export function readJsonLines(text: string): ImportLine[] {
  return text
    .split(/\r?\n/)
    .map((raw, index) => ({ raw: raw.trim(), line: index + 1 }))
    .filter(({ raw }) => raw !== '')
    .map(({ raw, line }) => {
      try {
        return { line, value: JSON.parse(raw) as unknown }
      } catch {
        return { line, value: undefined }
      }
    })
}

/** Never rejects for what a line says; rejects where the store does not work. Lines before a rejection are written. */
export async function importDevices(
  registry: Registry,
  project: string,
  lines: ImportLine[],
): Promise<ImportReport> {
  const report: ImportReport = { created: 0, devices: [], unchanged: 0, problems: [] }
  for (let at = 0; at < lines.length; at += AT_ONCE) {
    const outcomes = await Promise.all(
      lines.slice(at, at + AT_ONCE).map((line) => importLine(registry, project, line)),
    )
    for (const outcome of outcomes) {
      if (typeof outcome === 'object' && 'created' in outcome) {
        report.created++
        report.devices.push(outcome.created)
      } else if (outcome === 'unchanged') report.unchanged++
      else report.problems.push(outcome)
    }
  }
  return report
}

async function importLine(
  registry: Registry,
  project: string,
  { line, value }: ImportLine,
): Promise<{ created: string } | 'unchanged' | ImportProblem> {
  if (value === undefined) return { line, code: 'INVALID_JSON', error: 'the line is not JSON' }
  if (!check.Check(value)) {
    const [problem] = check.Errors(value)
    return {
      line,
      code: 'INVALID_BODY',
      error: `${problem?.instancePath || '/'} ${problem?.message ?? 'is wrong'}`,
    }
  }
  try {
    return { created: (await registry.create(project, value)).id }
  } catch (error) {
    if (!(error instanceof SshoalError) || error.code.startsWith('STORE_')) throw error
    if (error.code === 'DEVICE_EXISTS' && (await isSame(registry, project, value))) return 'unchanged'
    return { line, code: error.code, error: errorText(error) }
  }
}

async function isSame(registry: Registry, project: string, wanted: NewDevice): Promise<boolean> {
  const old = await registry.get(project, wanted.id)
  return old !== undefined && fingerprintOf(old) === fingerprintOf(makeDevice(project, wanted, 0))
}

function fingerprintOf(device: Device): string {
  const { name, mac, region, ports, keepaliveMs } = changeDevice(device, {})
  const keys = device.keys.map((key) => `${key.fingerprint} ${key.label ?? ''}`).sort()
  return JSON.stringify([name, mac, region, ports, keepaliveMs, keys])
}
