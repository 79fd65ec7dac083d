// Brings a store of an older schema to today's: an export of it is saved as a file first, and what is read back from that
// file takes its place in one step. A crash leaves the one or the other whole; where somebody wrote meanwhile, nothing is
// done, and it begins anew.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

import { SshoalError, type Log } from '@sshoal/shared'

import { readExport, saveExport } from './export-file.ts'
import { exportLines, importStore } from './store-export.ts'
import type { Snapshot, Store } from './store.ts'

export interface MigrationDeps {
  store: Pick<Store, 'schema' | 'restore'>
  /** Of the older schema. */
  snapshot(): Promise<Snapshot>
  /** Where the copy goes: `store-schema-N.ndjson`, 0600. */
  folder: string
  log: Log | undefined
}

/** False: it moved on meanwhile, or somebody else has done it; look again. Throws EXPORT_FILE where the copy cannot be made. */
export async function migrateStore({ store, snapshot, folder, log }: MigrationDeps): Promise<boolean> {
  try {
    const before = await snapshot()
    const file = join(folder, `store-schema-${before.schema}.ndjson`)
    const { records: _, ...over } = before
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    await saveExport(file, exportLines(before))
    const records = await importStore(store, readExport(file), { replace: true, over })
    log?.warn(
      { from: before.schema, to: store.schema.number, records, copy: file },
      'the store was brought to a newer schema; older versions of sshoal refuse it, the copy is for them',
    )
    return true
  } catch (error) {
    if (error instanceof SshoalError && error.code === 'STORE_MOVED') return false
    throw error
  }
}

/** What a migration was made from is no longer what is there. */
export function storeMoved(): SshoalError {
  return new SshoalError('STORE_MOVED', 'the store changed meanwhile; nothing was replaced')
}
