import { expect, test } from 'vitest'

import { DeviceTargets } from '../../src/access/device-targets.ts'
import { isName } from '../../src/access/name.ts'
import { TARGET, type Target } from '../../src/access/target.ts'
import { openLmdbStore } from '../../src/store/lmdb-store.ts'
import { temporaryFolder } from '../master-parts.ts'
import { OLD } from '../store/migration-steps.ts'

test('every device of an older store is a target when it is opened, found by name and by device', async () => {
  const folder = temporaryFolder()
  const ids = ['pump-1', 'Pump-1', 'AA:BB:CC', '0B7F6F0E-6F0C-4C43-8D4E-6A1D8A8D8A10', 'x'.repeat(128), 'ü']
  const old = await openLmdbStore(folder.path, { schema: OLD })
  for (const project of ['default', 'acme'])
    for (const id of ids) {
      const value = { id, project, source: 'store', keys: [], createdAt: 7 }
      await old.transact([{ type: 'put', ref: { kind: 'device', project, id }, value }])
    }
  await old.close()
  const store = await openLmdbStore(folder.path)
  const targets = (await store.scan<Target>({ kind: TARGET, limit: 100 })).records.map(({ value }) => value)
  expect(targets).toHaveLength(2 * ids.length)
  expect(targets.every(({ name, createdAt }) => isName(name) && createdAt === 7)).toBe(true)
  const book = new DeviceTargets(store)
  for (const project of ['default', 'acme'])
    for (const id of ids) {
      expect((await book.of(project, id))?.target).toMatchObject({ kind: 'device', device: id, project })
      // Who comes again is the same target.
      expect(await book.joining(project, id, 8)).toEqual([])
    }
  const [byUuid] = await store.find<Target>(TARGET, { index: 'uuid', value: ids[3]?.toLowerCase() ?? '' })
  expect(byUuid?.id).toBe(ids[3]?.toLowerCase())
  await store.close()
  folder.remove()
})
