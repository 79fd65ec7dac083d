// The production build: our packages and the pure code of others in dist/sshoal.mjs and the parts that it loads when they are needed; native parts,
// tsx for hooks in TypeScript and the files of the API page stay in node_modules and are read from there at run time.
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

import { build } from 'esbuild'

import { dependencies, HEAD, notices, ownPlaces, sharedByFile } from './bundling.mjs'

const root = new URL('../', import.meta.url)
const dist = new URL('dist/', root)
const folder = fileURLToPath(dist)

const result = await build({
  absWorkingDir: fileURLToPath(root),
  entryPoints: ['packages/cli/src/main.ts'],
  outdir: 'dist',
  entryNames: 'sshoal',
  chunkNames: '[name]-[hash]',
  outExtension: { '.js': '.mjs' },
  splitting: true,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: true,
  metafile: true,
  write: false,
  banner: { js: HEAD },
  // `notices` has the whole texts.
  legalComments: 'none',
  plugins: [
    dependencies(folder),
    ownPlaces(folder),
    await sharedByFile(new URL('packages/shared/src/', root)),
  ],
})

// A `sshoal` that runs from here finds whole files at every moment: the parts come first and the entry last, each under
// another name until it is complete.
const place = ({ path }) => Number(basename(path) === 'sshoal.mjs')
await mkdir(dist, { recursive: true })
const licences = {
  path: fileURLToPath(new URL('LICENCES.txt', dist)),
  contents: await notices(root, Object.keys(result.metafile.inputs)),
}
const files = [licences, ...result.outputFiles.toSorted((a, b) => place(a) - place(b))]
for (const { path, contents } of files) {
  await writeFile(`${path}.${process.pid}`, contents)
  await rename(`${path}.${process.pid}`, path)
}

// What earlier builds left goes, save what was part of one within the last hour: who runs from it has parts yet to load.
const ours = new Set(files.map(({ path }) => basename(path)))
for (const name of await readdir(dist)) {
  const file = new URL(name, dist)
  const written = ours.has(name) ? undefined : await stat(file).catch(() => undefined)
  if (written && Date.now() - written.mtimeMs > 3_600_000) await rm(file, { recursive: true, force: true })
}

const code = Object.entries(result.metafile.outputs).filter(([file]) => file.endsWith('.mjs'))
const bytes = code.reduce((sum, [, output]) => sum + output.bytes, 0)
const manifest = JSON.parse(await readFile(new URL('package.json', root), 'utf8'))
process.stdout.write(
  `${manifest.name} ${manifest.version}: dist/sshoal.mjs, ${Math.round(bytes / 1024)} KiB in ${code.length} files\n`,
)
