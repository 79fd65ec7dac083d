// Temporary folders that go with the test which made them.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { entrust } from './caretaker.ts'
import { atEnd } from './ending.ts'

export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sshoal-test-'))
  const release = entrust(`rm -rf '${folder}'`)
  atEnd(() => {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    release()
  })
  return folder
}
