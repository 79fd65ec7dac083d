// How this command was started: what starts another of its kind, and what a person types to call it again.
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { delimiter, dirname, join, relative } from 'node:path'

export interface Program {
  version: string
  /** The script that runs, absolute. */
  script: string
  /** Options of Node itself that a child needs as well. */
  execArgv: string[]
  /** What a person types before the verb, in the folder where this command was started. */
  spelling: string
}

/** Words for a shell: quoted only where they must be. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

/** `npx sshoal` in a checkout, `sshoal` when it is installed, else the path of the script. */
export function spellingOf(script: string, cwd: string, path: string): string {
  const real = relative(realPath(cwd), realPath(script))
  const local = relative(cwd, script)
  if (['bin/sshoal', 'packages/cli/src/main.ts', 'dist/sshoal.mjs'].includes(real) && isCheckout(cwd))
    return 'npx sshoal'
  if (script.endsWith('/sshoal')) {
    if (path.split(delimiter).includes(dirname(script))) return 'sshoal'
    return shellWord(local.startsWith('..') ? script : local.includes('/') ? local : `./${local}`)
  }
  return `node ${shellWord(local.startsWith('..') ? script : local)}`
}

/** npx starts a link to the script from a folder of its own. */
function realPath(path: string): string {
  return existsSync(path) ? realpathSync(path) : path
}

function isCheckout(folder: string): boolean {
  const file = join(folder, 'package.json')
  if (!existsSync(file)) return false
  try {
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as { name?: unknown }
    return manifest.name === 'sshoal'
  } catch {
    // A folder with a broken package.json is not ours.
    return false
  }
}
