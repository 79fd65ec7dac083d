// `sshoal device import`: many devices at once from JSON lines, one `{"id": …, "keys": […]}` per line.
import { readFileSync } from 'node:fs'

import { errorText, SshoalError } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { Session } from '../session.ts'
import { verb } from '../verb.ts'

interface Report {
  created: number
  /** They were there, with the same keys and settings. */
  unchanged: number
  problems: { line: number; code: string; error: string }[]
}

export const deviceImport = verb({
  name: 'import',
  summary: 'register many devices from JSON lines',
  operands: [{ name: 'FILE', describe: 'one {"id", "keys", …} per line; - is standard input' }],
  options: clientOptions,
  examples: ['sshoal device import devices.jsonl'],
  async run({ values, operands, context }) {
    const [file = '-'] = operands
    const session = new Session(values, context)
    const text = file === '-' ? await context.terminal.read() : readLines(file)
    const body = { type: 'application/x-ndjson', text }
    const answer = await session.rest.call<Report>('/devices/import', { method: 'POST', body })
    session.print(answer, ({ created, unchanged, problems }) =>
      [
        `${created} registered, ${unchanged} were there already, ${problems.length} refused\n`,
        ...problems.map(({ line, code, error }) => `line ${line}: ${error} (${code})\n`),
      ].join(''),
    )
    return answer.problems.length > 0 ? 1 : 0
  },
})

function readLines(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new SshoalError('UNREADABLE', `cannot read ${file}: ${errorText(error)}`, { cause: error })
  }
}
