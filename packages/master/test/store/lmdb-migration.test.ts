import { openLmdbStore } from '../../src/store/lmdb-store.ts'
import { temporaryFolder } from '../master-parts.ts'
import { describeMigration } from './migration-suite.ts'

describeMigration('a migration of the embedded store', () => {
  const [folder, other] = [temporaryFolder(), temporaryFolder()]
  return {
    folder: folder.path,
    open: (schema) => openLmdbStore(folder.path, { schema }),
    openOther: (schema) => openLmdbStore(other.path, { schema }),
    args: [folder.path],
    destroy() {
      folder.remove()
      other.remove()
    },
  }
})
