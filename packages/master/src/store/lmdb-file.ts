// The file of the embedded store before it is one: whether it is ours, whose it is, and of which schema.
import { randomUUID } from 'node:crypto'
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs'

import { SshoalError } from '@sshoal/shared'
import type { Database, RootDatabase } from 'lmdb'

import { checkSchema, type Schema } from './schema.ts'

/** LMDB ends the process when it maps a file that is none of its own; its mark is at byte 24 (mdb.c, MDB_meta). */
export function checkDataFile(path: string): void {
  if (!existsSync(path) || statSync(path).size === 0) return
  const head = Buffer.alloc(28)
  const file = openSync(path, 'r')
  readSync(file, head)
  closeSync(file)
  if (head.readUInt32LE(24) !== 0xbeefc0de)
    throw new SshoalError(
      'STORE_FAILED',
      `${path} is not a store; move it away, or name another --data folder`,
    )
}

/** Writes id and schema into a new store. */
export function identify(
  root: RootDatabase,
  meta: Database<unknown, string>,
  known: Schema,
): { id: string; schema: number } {
  return root.transactionSync(() => {
    const schema = meta.get('schema')
    if (typeof schema === 'number') checkSchema(schema, known, 'name another --data folder')
    const id = meta.get('id')
    if (typeof id === 'string') return { id, schema: Number(schema) }
    const made = { id: randomUUID(), schema: known.number }
    meta.putSync('schema', made.schema)
    meta.putSync('id', made.id)
    return made
  })
}
