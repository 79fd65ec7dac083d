// What the build takes into the bundle, and how: three plugins for esbuild and the notices of those whose code is taken.
import { readdir, readFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Native code, and what starts programs of its own or is asked for by its insides. */
const OUTSIDE = /^(lmdb|ssh2|tsx)(\/|$)/

/**
 * Other packages are pure code in hundreds of small files, which load in half the time from a bundle. What stays outside is
 * imported by name, or where npm did not hoist it by its place below the package that asked for it.
 */
export function dependencies(dist) {
  return {
    name: 'dependencies',
    setup(build) {
      build.onResolve({ filter: OUTSIDE }, async ({ path, kind, importer, resolveDir, pluginData }) => {
        if (pluginData === 'ours') return undefined
        const found = await build.resolve(path, { kind, importer, resolveDir, pluginData: 'ours' })
        if (found.errors.length > 0) return found
        const place = relative(dist, found.path)
        return { path: place.startsWith('../node_modules/') ? path : place, external: true }
      })
      build.onResolve({ filter: /^[^./]/ }, ({ path }) =>
        isBuiltin(path) ? { path, external: true } : undefined,
      )
    },
  }
}

/** CommonJS in a module: it has a `require`, and where it looks beside itself it looks where npm put it. */
export const HEAD = `import { createRequire as requireFrom } from 'node:module'
const bundleUrl = import.meta.url, require = requireFrom(bundleUrl)`

export function ownPlaces(dist) {
  return {
    name: 'own places',
    setup(build) {
      build.onLoad({ filter: /\/node_modules\/.*\.c?js$/ }, async ({ path }) => {
        const source = await readFile(path, 'utf8')
        if (!/\b__(dirname|filename)\b/.test(source)) return undefined
        const url = `new URL(${JSON.stringify(relative(dist, path))}, bundleUrl)`
        const head = `const __filename = require('node:url').fileURLToPath(${url}), __dirname = require('node:path').dirname(__filename);`
        return { contents: head + source, loader: 'js' }
      })
    },
  }
}

/**
 * A file that takes one name from `@sshoal/shared` is led to the file that has it: through the index it would load all of it,
 * with the log and the link, in every verb.
 */
export async function sharedByFile(shared) {
  const index = await readFile(new URL('index.ts', shared), 'utf8')
  const files = new Map()
  for (const [, names, file] of index.matchAll(/export \{([^}]*)\} from '([^']*)'/g))
    for (const name of namesOf(names)) files.set(name, fileURLToPath(new URL(file, shared)))
  const lead = (name) => `import { ${name} } from ${JSON.stringify(files.get(name.split(' as ')[0]))}`
  return {
    name: 'shared by file',
    setup(build) {
      build.onLoad({ filter: /\/packages\/[^/]+\/src\/.*\.ts$/ }, async ({ path }) => {
        const source = await readFile(path, 'utf8')
        // In as many lines as before, so that the source map stays right.
        const contents = source.replace(
          /^import \{([^}]*)\} from '@sshoal\/shared'$/gm,
          (whole, names) => namesOf(names).map(lead).join(';') + whole.replace(/[^\n]/g, ''),
        )
        return { contents, loader: 'ts' }
      })
    },
  }
}

/** Values alone: types are not there any more when a program runs. */
function namesOf(list) {
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && !name.startsWith('type '))
}

/** The licence of every package that has code in the bundle, as the package itself tells it. */
export async function notices(root, inputs) {
  const folders = new Set(inputs.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? []))
  const texts = [...folders]
    .toSorted((a, b) => a.localeCompare(b))
    .map(async (folder) => {
      const place = new URL(`${folder}/`, root)
      const { name, version, license } = JSON.parse(await readFile(new URL('package.json', place), 'utf8'))
      const file = (await readdir(place)).find((entry) => /^licen[cs]e/i.test(entry))
      const text = file === undefined ? '' : await readFile(new URL(file, place), 'utf8')
      return `${name} ${version} (${license})\n\n${text.trim()}\n`
    })
  return (await Promise.all(texts)).join(`\n${'-'.repeat(80)}\n\n`)
}
