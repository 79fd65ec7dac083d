// The configuration loader: flags, then the environment, then defaults; all errors at once, each naming its source.
// It alone knows how option names are spelled; it is handed the environment and reads secrets from files.
import { readFileSync } from 'node:fs'

import type { Option } from './option.ts'
import { errorText, SshoalError } from './sshoal-error.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- a record of options of any value type
export type Options = Record<string, Option<any>>
export type Values<O extends Options> = { [K in keyof O]: O[K] extends Option<infer T> ? T : never }

export interface ConfigSources {
  /** By option name, as typed: texts for values, `['true']` for switches. Names ending in `File` carry secrets' paths. */
  flags: Record<string, string[]>
  env: Record<string, string | undefined>
}

/** `sshListen` → `--ssh-listen`. */
export function flagName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** `sshListen` → `SSHOAL_SSH_LISTEN`. */
export function envName(name: string): string {
  return `SSHOAL_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`
}

/** Values for all options. Throws INVALID_CONFIG whose message has one line per problem. */
export function loadConfig<O extends Options>(options: O, sources: ConfigSources): Values<O> {
  const problems: string[] = []
  const values: Record<string, unknown> = {}
  for (const [name, option] of Object.entries(options)) {
    values[name] = option.fallback
    const given = find(name, option, sources, problems)
    if (!given) continue
    try {
      values[name] = option.read(given.texts)
    } catch (error) {
      problems.push(`${given.source}: ${errorText(error)}`)
    }
  }
  if (problems.length > 0)
    throw new SshoalError('INVALID_CONFIG', problems.join('\n'), { details: { problems } })
  return values as Values<O>
}

interface Given {
  texts: string[]
  source: string
}

function find(
  name: string,
  option: Option<unknown>,
  sources: ConfigSources,
  problems: string[],
): Given | undefined {
  const fileName = `${name}File`
  const candidates: [string[] | undefined, string, boolean][] = [
    [sources.flags[name], flagName(name), false],
    [option.secret ? sources.flags[fileName] : undefined, flagName(fileName), true],
    [nonEmpty(sources.env[envName(name)]), envName(name), false],
    [option.secret ? nonEmpty(sources.env[envName(fileName)]) : undefined, envName(fileName), true],
  ]
  const [texts, source, isFile] = candidates.find(([texts]) => texts !== undefined) ?? []
  if (!texts || !source) return undefined
  if (!isFile) return { texts, source }
  try {
    return { texts: [readFileSync(texts.at(-1) ?? '', 'utf8').trim()], source }
  } catch (error) {
    problems.push(`${source}: cannot read the file: ${errorText(error)}`)
    return undefined
  }
}

/** An empty environment variable is one that is not set, as in most tools. */
function nonEmpty(text: string | undefined): string[] | undefined {
  return text === undefined || text === '' ? undefined : [text]
}
