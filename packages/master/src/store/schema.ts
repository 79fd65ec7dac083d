// What the records of a store look like, as a number, and how those of an older one become those of the next. A program
// writes one schema, reads all before it through these steps, and refuses what is newer.
import { SshoalError } from '@sshoal/shared'

import { withTargetsOfDevices } from '../access/targets-of-devices.ts'
import type { ClaimedRecord } from './store.ts'

/** From the schema before to this one: all records come in, all records go out. Pure; it may be run again after a crash. */
export interface SchemaStep {
  to: number
  records(older: AsyncGenerator<ClaimedRecord, void>): AsyncGenerator<ClaimedRecord, void>
}

export interface Schema {
  /** What this program writes. */
  number: number
  /** In their order, without a gap, the last one to `number`. */
  steps: readonly SchemaStep[]
}

export const SCHEMA: Schema = {
  number: 2,
  steps: [
    // What people may reach is in the store too: users, pools, grants, and targets, of which every device is one. A program
    // that does not know them would remove a device and leave its target behind.
    { to: 2, records: withTargetsOfDevices },
  ],
}

/** Throws STORE_TOO_NEW; `instead`: what else its user may do. */
export function checkSchema(found: number, known: Schema, instead: string): void {
  if (found > known.number)
    throw new SshoalError(
      'STORE_TOO_NEW',
      `the store has schema ${found}, this program knows ${known.number}: update sshoal, or ${instead}`,
      { details: { found, known: known.number } },
    )
}

/** Records of schema `from` as the schema has them today. */
export function migrateRecords(
  records: AsyncGenerator<ClaimedRecord, void>,
  from: number,
  { steps }: Schema,
): AsyncGenerator<ClaimedRecord, void> {
  return steps.filter(({ to }) => to > from).reduce((older, step) => step.records(older), records)
}
