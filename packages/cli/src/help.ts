// How help looks: one entry per option with its flag, what stands for the value, what it is for, its default and its
// environment name. Knows the options' records, because the parser knows flags only.
import { envName, flagName, type Option, type Options } from '@sshoal/shared'
import { Help, type Command, type HelpConfiguration } from 'commander'

import type { Verb } from './verb.ts'

/** The parser lists subcommands and the help flag; options are listed by `helpTail`, which knows more about them. */
export const helpStyle: HelpConfiguration = {
  showGlobalOptions: false,
  visibleOptions: () => [],
  subcommandTerm: (command: Command) => command.name(),
}

interface Entry {
  term: string
  text: string
}

/** The `Options` and `Examples` sections of one verb, wrapped to `width` columns. */
export function helpTail(verb: Verb, width = 100): string {
  const entries = Object.entries(verb.options).flatMap(([name, option]) => optionEntries(name, option))
  entries.push({ term: '-h, --help', text: 'Show this help' })
  const parts = [section('Options:', entries, width)]
  if (verb.operands?.length)
    parts.unshift(
      section(
        'Operands:',
        verb.operands.map(({ name, describe }) => ({
          term: name,
          text: describe.charAt(0).toUpperCase() + describe.slice(1),
        })),
        width,
      ),
    )
  if (verb.examples?.length) parts.push(`Examples:\n${verb.examples.map((line) => `  ${line}\n`).join('')}`)
  return `\n${parts.join('\n')}`
}

function optionEntries(name: string, option: Options[string]): Entry[] {
  const entries = [{ term: optionTerm(name, option), text: optionText(name, option) }]
  if (option.secret)
    entries.push({
      term: `${flagName(`${name}File`)} FILE`,
      text: `File that holds the ${flagName(name)} [env: ${envName(`${name}File`)}]`,
    })
  return entries
}

export function optionTerm(name: string, option: Option<unknown>): string {
  return option.placeholder === undefined ? flagName(name) : `${flagName(name)} ${option.placeholder}`
}

export function optionText(name: string, option: Option<unknown>): string {
  const repeat = option.list && !option.describe.includes('repeatable') ? ' (repeatable)' : ''
  const fallback = option.shown === undefined ? '' : ` [default: ${option.shown}]`
  return `${sentence(option.describe)}${repeat}${fallback} [env: ${envName(name)}]`
}

export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** Terms longer than this get a line of their own. */
const TERM_COLUMNS = 32

function section(title: string, entries: Entry[], width: number): string {
  const style = new Help()
  const column = Math.min(TERM_COLUMNS, Math.max(...entries.map(({ term }) => term.length)))
  const lines = entries.map(({ term, text }) => {
    const wrapped = style.boxWrap(text, Math.max(30, width - column - 4)).split('\n')
    const first =
      term.length <= column ? [`  ${term.padEnd(column)}  ${wrapped.shift() ?? ''}`] : [`  ${term}`]
    return [...first, ...wrapped.map((line) => `${' '.repeat(column + 4)}${line}`)].join('\n')
  })
  return `${title}\n${lines.join('\n')}\n`
}
