// The production build: our packages in dist/sshoal.mjs and the parts that it loads when they are needed; what npm installs stays in node_modules, because
// native parts, TypeScript hooks and the API page are read from there at run time.
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { basename, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

import { build } from 'esbuild'

const root = new URL('../', import.meta.url)
const dist = new URL('dist/', root)

/** Every import by name that is not ours; where npm did not hoist one, by its place below the package that asked for it. */
const dependencies = {
  name: 'dependencies',
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, async ({ path, kind, importer, resolveDir, pluginData }) => {
      if (kind === 'entry-point' || path.startsWith('@sshoal/') || pluginData === 'ours') return undefined
      if (isBuiltin(path)) return { path, external: true }
      // Pure code in hundreds of small files: inside the bundle it loads in a tenth of the time.
      if (/^(typebox|lru-cache)(\/|$)/.test(path)) return undefined
      const found = await build.resolve(path, { kind, importer, resolveDir, pluginData: 'ours' })
      if (found.errors.length > 0) return found
      const place = relative(fileURLToPath(dist), found.path)
      return { path: place.startsWith('../node_modules/') ? path : place, external: true }
    })
  },
}

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
  legalComments: 'none',
  plugins: [dependencies],
})

// A `sshoal` that runs from here finds whole files at every moment: the parts come first and the entry last, each under
// another name until it is complete.
const place = ({ path }) => Number(basename(path) === 'sshoal.mjs')
await mkdir(dist, { recursive: true })
for (const { path, contents } of result.outputFiles.toSorted((a, b) => place(a) - place(b))) {
  await writeFile(`${path}.${process.pid}`, contents)
  await rename(`${path}.${process.pid}`, path)
}

// What earlier builds left goes, save what was part of one within the last hour: who runs from it has parts yet to load.
const ours = new Set(result.outputFiles.map(({ path }) => basename(path)))
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
