// A machine of a person's: a network namespace, a home folder, and the programs that it has.

import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { makeFolder } from './folder.ts'
import { start, type Started } from './process.ts'
import { run, type Ran } from './run.ts'

const checkout = fileURLToPath(new URL('../..', import.meta.url))

export interface HomeOptions {
  netns?: string
  /** Only these programs, by the file that each is; without it all of this machine's. */
  programs?: Record<string, string>
}

export interface Home {
  folder: string
  /** Runs a command line to its end, as a person would type it. */
  type(line: string): Promise<Ran>
  /** The same, for what stays. */
  startTyping(line: string): Started
}

/** A home; with all programs `npx sshoal` works in it as in a checkout, and its `data` is its own. */
export function makeHome({ netns, programs }: HomeOptions = {}): Home {
  const folder = makeFolder()
  const env: Record<string, string | undefined> = { HOME: folder, SSH_AUTH_SOCK: undefined, LC_ALL: 'C' }
  let [shell, before] = [['bash', '-c'], '']
  if (programs === undefined) {
    for (const name of ['bin', 'node_modules', 'package.json'])
      symlinkSync(join(checkout, name), join(folder, name))
  } else {
    const bin = join(folder, 'bin')
    mkdirSync(bin)
    for (const [name, file] of Object.entries(programs)) symlinkSync(file, join(bin, name))
    // Not in its environment, in which `ip` must still be found to enter the namespace.
    before = `PATH=${bin}\n`
    shell = ['/usr/bin/busybox', 'sh', '-c']
  }
  const [program = '', ...args] = shell
  const options = { cwd: folder, env, ...(netns === undefined ? {} : { netns }) }
  return {
    folder,
    type: (line) => run(program, [...args, before + line], options),
    startTyping: (line) => start(program, [...args, before + line], options),
  }
}
