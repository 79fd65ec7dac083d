// A verb of the command line: what it is called, which operands and options it takes, what it does.
// The command tree is data made of verbs and groups; command-line.ts hands it to the parser.
import type { ConfigSources, Log, Options, Values } from '@sshoal/shared'

import type { Program } from './program.ts'
import type { Terminal } from './terminal.ts'

/** What a long-running command hands back to `main`, which alone hears signals. */
export interface Role {
  log: Log
  reload(): Promise<void>
  /** Moves devices away, then ends; resolves when all is closed. */
  close(): Promise<void>
}

/** Everything outside the command line that a verb may touch. */
export interface Context {
  terminal: Terminal
  env: Record<string, string | undefined>
  program: Program
  /** The folder in which the command was called. */
  cwd: string
  /** How long-running commands write their log. */
  createLog(level: string): Promise<Log>
  /** Tells the supervisor, if this process is one of its workers. */
  announce(message: object): void
  /** Runs another program on this terminal; resolves with its exit code. Rejects with NOT_STARTED. */
  attach(command: string, args: string[]): Promise<number>
  /** Keeps the role running until a signal ends it; resolves with the exit code. */
  hold(role: Role | Promise<Role>): Promise<number>
}

export interface Operand {
  /** In caps, as help shows it. */
  name: string
  describe: string
  /** True: any number of them, at least one. Only the last operand may be. */
  many?: boolean
}

export interface Verb<O extends Options = Options> {
  name: string
  /** One line, no full stop. */
  summary: string
  operands?: readonly Operand[]
  options: O
  /** True: from the first operand on all words are operands, flags of another program among them. */
  passThrough?: boolean
  /** Flags of other commands that this one settles by itself: option name → what to write instead. */
  settled?: Record<string, string>
  /** Printed under the help, each as it would be typed. */
  examples?: readonly string[]
  /** The exit code. `sources` is what was read, for those that start other processes. */
  run(call: Call<O>): Promise<number>
}

export interface Call<O extends Options = Options> {
  values: Values<O>
  operands: string[]
  context: Context
  sources: ConfigSources
}

/** Verbs under one word; with `self`, the word alone is a verb too. */
export interface Group {
  name: string
  summary: string
  self?: Verb
  members: readonly (Verb | Group)[]
}

/** Keeps the options' types for `run` and forgets them for the tree. */
export function verb<O extends Options>(verb: Verb<O>): Verb {
  return verb
}
