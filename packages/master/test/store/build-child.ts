// A program of the tests as one plain file, so that a process which is to be killed starts at once: through tsx it takes
// two seconds of computing. Beside the packages, where lmdb is found.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { buildSync } from 'esbuild'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** `name` stands in this folder; the file that is returned belongs to the caller. */
export function buildChild(name: string): string {
  const outfile = join(here('../../../../node_modules/.cache'), `${name}-${process.pid}.mjs`)
  buildSync({
    entryPoints: [here(`${name}.ts`)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    alias: { '@sshoal/shared': here('../../../shared/src/index.ts') },
  })
  return outfile
}
