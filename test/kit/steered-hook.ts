// A hook in a file of its own that a test steers while it runs: TypeScript, with a package beside it that only
// this folder has. What it is asked it writes down; what it shall answer it reads anew for every question.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { makeFolder } from './folder.ts'
import type { Key } from './key.ts'
import { eventually } from './wait.ts'

/** One thing a hook can do when it is asked about a key. */
export type Reaction =
  | { answer: unknown }
  | { throw: string }
  /** Nothing until it is steered elsewhere. */
  | { hang: true }

export interface Asked {
  publicKey: string
  algorithm: string
  fingerprint: string
  username: string
  remoteAddress?: string
  slave?: string
}

export interface SteeredHook {
  /** For `--hook`. */
  file: string
  folder: string
  /** Unless steered it answers nothing to a key. */
  on(key: Key, reaction: Reaction): void
  /** The questions about this key so far. */
  asked(key: Key): Asked[]
  /** Waits for that many questions about this key. */
  askedTimes(key: Key, count: number): Promise<Asked[]>
}

const HOOK = `
import { appendFileSync, readFileSync } from 'node:fs'

import { countersign } from 'countersign'

type Reaction = { answer: unknown } | { throw: string } | { hang: true }
interface Context {
  readonly algorithm: string
  readonly fingerprint: string
  readonly username: string
  readonly remoteAddress: string
  readonly slave: string
  readonly signal: AbortSignal
}

const file = (name: string): URL => new URL(name, import.meta.url)

function reaction(fingerprint: string): Reaction {
  const all = JSON.parse(readFileSync(file('reactions.json'), 'utf8')) as Record<string, Reaction>
  return all[fingerprint] ?? { answer: null }
}

export async function validate_device(publicKey: string, context: Context): Promise<unknown> {
  const { algorithm, fingerprint, username } = context
  // An answer that looked at the address or the slave would hold for them alone.
  const where = LOOK ? { remoteAddress: context.remoteAddress, slave: context.slave } : {}
  const asked = { publicKey, algorithm, fingerprint, username, ...where }
  appendFileSync(file('asked.jsonl'), JSON.stringify(asked) + '\\n')
  for (;;) {
    const now = reaction(fingerprint)
    if ('throw' in now) throw new Error(now.throw)
    if ('answer' in now) return countersign(now.answer)
    await new Promise((resolve) => setTimeout(resolve, 20))
    if (context.signal.aborted) throw context.signal.reason
  }
}
`

/** With `look` its answers depend on address and slave. Every answer bears `countersigned: true`, from the package. */
export function makeSteeredHook({ look = false } = {}): SteeredHook {
  const folder = makeFolder()
  const file = join(folder, 'hook.ts')
  const beside = join(folder, 'node_modules/countersign')
  mkdirSync(beside, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}\n')
  writeFileSync(
    join(beside, 'package.json'),
    '{"name":"countersign","type":"module","exports":"./index.js"}\n',
  )
  writeFileSync(
    join(beside, 'index.js'),
    "export const countersign = (a) => (a && typeof a === 'object' ? { ...a, countersigned: true } : a)\n",
  )
  writeFileSync(file, HOOK.replace('LOOK', String(look)))
  const reactions: Record<string, Reaction> = {}
  const steer = (): void => {
    // Renamed, so that the hook never reads half of it.
    writeFileSync(join(folder, 'reactions.new'), JSON.stringify(reactions))
    renameSync(join(folder, 'reactions.new'), join(folder, 'reactions.json'))
  }
  steer()
  writeFileSync(join(folder, 'asked.jsonl'), '')
  const hook: SteeredHook = {
    file,
    folder,
    on(key, reaction) {
      reactions[key.fingerprint] = reaction
      steer()
    },
    asked: (key) =>
      readFileSync(join(folder, 'asked.jsonl'), 'utf8')
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Asked)
        .filter(({ fingerprint }) => fingerprint === key.fingerprint),
    askedTimes: (key, count) =>
      eventually(() => (hook.asked(key).length >= count ? hook.asked(key) : false), {
        message: `the hook is asked ${count} times`,
      }),
  }
  return hook
}
