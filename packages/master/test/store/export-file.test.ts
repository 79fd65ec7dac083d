import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { SshoalError } from '@sshoal/shared'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { readExport, saveExport } from '../../src/store/export-file.ts'
import { openLmdbStore } from '../../src/store/lmdb-store.ts'
import { exportStore, importStore } from '../../src/store/store-export.ts'
import { temporaryFolder } from '../master-parts.ts'

describe('an export as a file', () => {
  let folder: ReturnType<typeof temporaryFolder>
  beforeEach(() => {
    folder = temporaryFolder()
  })
  afterEach(() => folder.remove())

  it('is for its owner alone, also where an older one was not, and makes another store the same', async () => {
    const path = join(folder.path, 'backup.jsonl')
    writeFileSync(path, 'old', { mode: 0o644 })
    const store = await openLmdbStore(join(folder.path, 'one'))
    const ref = { kind: 'device', project: 'default', id: 'a' }
    await store.transact([{ type: 'put', ref, value: { text: 'x'.repeat(100_000) } }])
    await saveExport(path, exportStore(store))
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder.path).sort()).toEqual(['backup.jsonl', 'one'])

    const other = await openLmdbStore(join(folder.path, 'two'))
    expect(await importStore(other, readExport(path))).toBe(1)
    expect(await other.get(ref)).toEqual(await store.get(ref))
    expect(other.id).toBe(store.id)
    await store.close()
    await other.close()
  })

  it('is whole or not there at all', async () => {
    const path = join(folder.path, 'backup.jsonl')
    writeFileSync(path, 'the one before')
    async function* broken(): AsyncGenerator<string> {
      yield 'x'.repeat(100_000)
      throw new SshoalError('STORE_UNAVAILABLE', 'gone')
    }
    await expect(saveExport(path, broken())).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
    expect(readFileSync(path, 'utf8')).toBe('the one before')
    expect(existsSync(`${path}.part`)).toBe(false)
  })

  it('says which file cannot be written or read', async () => {
    const path = join(folder.path, 'none', 'backup.jsonl')
    async function* nothing(): AsyncGenerator<string> {}
    await expect(saveExport(path, nothing())).rejects.toMatchObject({ code: 'EXPORT_FILE' })
    await expect(readExport(path).next()).rejects.toMatchObject({ code: 'EXPORT_FILE' })
  })
})
