// docs/configuration.md, made from the records of options, so that it cannot say anything else than the code.
import { envName, flagName, type Option, type Options } from '@sshoal/shared'

import { clientOptions } from './client-options.ts'
import { workerOptions } from './commands/slave.ts'
import { upOptions } from './commands/up.ts'
import { optionTerm, sentence } from './help.ts'
import type { Roles } from './roles.ts'

export function configurationPage(roles: Pick<Roles, 'masterOptions' | 'slaveOptions'>): string {
  return `# Configuration

Written by \`npx tsx scripts/write-configuration-docs.ts\` from the options' own records; change those, not this page.

Every option is a flag and an environment variable. A flag outdoes the variable; an empty variable is one that is not set.
\`--flag value\` and \`--flag=value\` are the same. Options marked with \`…\` may be given several times; in a variable their
values are separated by commas. Durations are a number with \`ms\`, \`s\`, \`m\`, \`h\` or \`d\`, such as \`90s\`. Switches are
\`true\` or \`false\` in a variable. A secret can stand in a file: \`--token-file FILE\` in place of \`--token SECRET\`.

What is wrong is said all at once, each with the flag or the variable it came from, and the exit code is 2.
Certificates, hook and host keys are read again on SIGHUP. A slave's \`--token-file\` and \`--master-ca\` and a master's TLS
files for Redis are read by each new connection, so that a rotation needs no signal; SIGHUP says what of them cannot be read.

\`sshoal up\` takes the options of the master and of the slave, except \`--master\` and \`--token\`, which it settles itself.

${section('sshoal up', upOptions)}
${section('sshoal master', roles.masterOptions)}
${section('sshoal slave', { ...roles.slaveOptions, ...workerOptions })}
${section('Verbs over REST', clientOptions)}`
}

function section(title: string, options: Options): string {
  const rows = Object.entries(options).flatMap(([name, option]) => [
    row(`${optionTerm(name, option)}${option.list ? ' …' : ''}`, envName(name), option.describe, option),
    ...(option.secret
      ? [
          row(
            `${flagName(`${name}File`)} FILE`,
            envName(`${name}File`),
            `file that holds the ${flagName(name)}`,
          ),
        ]
      : []),
  ])
  return `## ${title}\n\n| flag | variable | default | what it is |\n|---|---|---|---|\n${rows.join('')}`
}

function row(term: string, env: string, describe: string, option?: Option<unknown>): string {
  const fallback = option?.placeholder === undefined ? (option ? '`false`' : '') : shown(option)
  return `| ${code(term)} | ${code(env)} | ${fallback} | ${cell(sentence(describe))} |\n`
}

function shown(option: Option<unknown>): string {
  return option.shown === undefined ? '' : code(option.shown)
}

function code(text: string): string {
  return `\`${cell(text)}\``
}

/** A bar ends a cell, even in code. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
