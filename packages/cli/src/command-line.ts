// From words to a verb: builds the parser from the command tree, collects every problem of a call before it says one,
// and turns errors into exit codes (0 done, 1 failed, 2 called wrongly).
import { errorText, flagName, loadConfig, SshoalError, type Options, type Values } from '@sshoal/shared'
import { Command, CommanderError, Option as Flag } from 'commander'

import { helpStyle, helpTail } from './help.ts'
import { similarName } from './similar-name.ts'
import type { Context, Group, Verb } from './verb.ts'

/** Runs `words` (without node and script) and resolves with the exit code; prints errors, throws none of them. */
export async function runCommandLine(
  tree: readonly (Verb | Group)[],
  words: string[],
  context: Context,
): Promise<number> {
  let exitCode = 0
  const root = new Command('sshoal')
    .description('Reach devices behind NAT with the ssh they already have.')
    .version(context.program.version, '--version', 'print the version')
    .configureHelp(helpStyle)
    .configureOutput({
      writeOut: (text) => context.terminal.out(text),
      writeErr: (text) => context.terminal.err(text),
      getOutHelpWidth: () => context.terminal.width ?? 100,
      getErrHelpWidth: () => context.terminal.width ?? 100,
      outputError: (text, write) => write(text.replace(/^error: /, 'sshoal: ')),
    })
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [COMMAND]', 'show the help of a command')
    .exitOverride()
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .showHelpAfterError('See `sshoal --help`.')
  const acts: Acts = {
    width: context.terminal.width,
    async act(verb, command) {
      exitCode = await call(verb, command, context)
    },
  }
  for (const node of tree) addNode(root, node, acts)
  try {
    await root.parseAsync(words, { from: 'user' })
    return exitCode
  } catch (error) {
    // The parser has already printed its own; help and version that were asked for are no errors.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    context.terminal.err(`sshoal: ${errorText(error).replaceAll('\n', '\nsshoal: ')}\n`)
    if (!(error instanceof SshoalError)) context.terminal.err(`${stackOf(error)}\n`)
    return error instanceof SshoalError && error.code === 'INVALID_CONFIG' ? 2 : 1
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error && error.stack ? error.stack : String(error)
}

interface Acts {
  width: number | undefined
  act(verb: Verb, command: Command): Promise<void>
}

function addNode(parent: Command, node: Verb | Group, acts: Acts): void {
  const command = parent
    .command(node.name)
    .helpOption('-h, --help', 'show this help')
    .enablePositionalOptions()
  command.description(node.summary).showHelpAfterError(`See \`${commandWords(command)} --help\`.`)
  if ('members' in node) {
    command.helpCommand(false)
    if (node.self) makeVerb(command, node.self, acts)
    for (const member of node.members) addNode(command, member, acts)
  } else {
    makeVerb(command, node, acts)
  }
}

function makeVerb(command: Command, verb: Verb, acts: Acts): void {
  const operands = (verb.operands ?? []).map((operand) => (operand.many ? `${operand.name}…` : operand.name))
  command
    .usage((verb.passThrough ? ['[options]', ...operands, '…'] : [...operands, '[options]']).join(' '))
    .allowUnknownOption()
    .allowExcessArguments()
    .addHelpText('after', () => helpTail(verb, acts.width))
    .action(() => acts.act(verb, command))
  if (verb.passThrough) command.passThroughOptions()
  for (const [name, option] of Object.entries(verb.options)) {
    addFlag(command, name, option.placeholder)
    if (option.secret) addFlag(command, `${name}File`, 'FILE')
  }
}

/** To the parser every value is optional and every flag repeatable, so that it hands on what it would stop at. */
function addFlag(command: Command, name: string, placeholder: string | undefined): void {
  const value = placeholder === undefined ? '' : ' [value]'
  command.addOption(
    new Flag(`${flagName(name)}${value}`).argParser((text: string, before: unknown) => [
      ...(Array.isArray(before) ? (before as string[]) : []),
      text,
    ]),
  )
}

async function call(verb: Verb, command: Command, context: Context): Promise<number> {
  const problems: string[] = []
  const flags = readFlags(verb.options, command, problems)
  const operands = readOperands(verb, command.args, problems)
  const sources = { flags, env: context.env }
  let values: Values<Options> = {}
  try {
    values = loadConfig(verb.options, sources)
  } catch (error) {
    if (!(error instanceof SshoalError) || error.code !== 'INVALID_CONFIG') throw error
    problems.push(...error.message.split('\n'))
  }
  if (problems.length > 0) {
    const words = commandWords(command)
    context.terminal.err(`${words}: ${problems.join(`\n${words}: `)}\nSee \`${words} --help\`.\n`)
    return 2
  }
  return verb.run({ values, operands, context, sources })
}

function commandWords(command: Command): string {
  return command.parent ? `${commandWords(command.parent)} ${command.name()}` : command.name()
}

/** What the parser found, as the configuration loader wants it. */
function readFlags(options: Options, command: Command, problems: string[]): Record<string, string[]> {
  const flags: Record<string, string[]> = {}
  const given = command.opts<Record<string, unknown>>()
  for (const [name, option] of Object.entries(options))
    for (const key of option.secret ? [name, `${name}File`] : [name]) {
      const value = given[key]
      if (value === undefined) continue
      if (Array.isArray(value)) flags[key] = value as string[]
      else if (option.placeholder === undefined) flags[key] = ['true']
      else problems.push(`${flagName(key)}: its value is missing: ${flagName(key)} ${option.placeholder}`)
    }
  return flags
}

/** The operands among what the parser did not know; the rest are mistakes. */
function readOperands(verb: Verb, words: string[], problems: string[]): string[] {
  const wanted = verb.operands ?? []
  const operands: string[] = []
  let guessing = false
  for (const [index, word] of words.entries()) {
    const passed = verb.passThrough === true && operands.length > 0
    if (!passed && word.length > 1 && word.startsWith('-')) {
      problems.push(describeUnknown(word, verb))
      guessing = true
      if (verb.passThrough) break
    } else if (passed || !isOption(words[index - 1])) operands.push(word)
  }
  const most = verb.passThrough || wanted.at(-1)?.many ? Infinity : wanted.length
  for (const word of operands.slice(most)) problems.push(`"${word}": one word too many`)
  // After an unknown flag nobody can tell its value from an operand.
  if (!guessing)
    for (const operand of wanted.slice(operands.length))
      problems.push(`${operand.name} is missing: ${operand.describe}`)
  return operands
}

/** True for an unknown flag whose value may be the next word. */
function isOption(word: string | undefined): boolean {
  return word !== undefined && word.length > 1 && word.startsWith('-') && !word.includes('=')
}

function describeUnknown(word: string, verb: Verb): string {
  const flag = word.split('=')[0] ?? word
  const known = Object.entries(verb.options).flatMap(([name, option]) =>
    option.secret ? [flagName(name), flagName(`${name}File`)] : [flagName(name)],
  )
  const settled = Object.entries(verb.settled ?? {}).find(([name]) => flagName(name) === flag)
  if (settled) return `${flag}: ${settled[1]}`
  if (known.includes(flag)) return `${flag}: it is a switch and takes no value`
  const near = similarName(flag, known)
  return near ? `${flag}: unknown flag; did you mean ${near}?` : `${flag}: unknown flag`
}
