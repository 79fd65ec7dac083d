// Where the bench keeps what it makes: programs and the frozen build in .cache, everything of one run in a folder of /tmp.
import { chmodSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const benchFolder = fileURLToPath(new URL('.', import.meta.url))
export const rootFolder = fileURLToPath(new URL('..', import.meta.url))
export const cacheFolder = join(benchFolder, '.cache')
export const resultsFolder = join(benchFolder, 'results')

export function makeRunFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sshoal-bench-'))
  chmodSync(folder, 0o755)
  return folder
}
