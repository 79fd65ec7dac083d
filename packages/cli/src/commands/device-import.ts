// `sshoal device import`: many devices at once from JSON lines, one `{"id": …, "keys": […]}` per line.
import { readFileSync } from 'node:fs'

import { errorText, SshoalError } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { Session } from '../session.ts'
import { verb } from '../verb.ts'

interface Imported {
  added?: number
  changed?: number
  failed?: { line: number; error: string }[]
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
    const answer = await session.rest.call<Imported>('/devices/import', { method: 'POST', body })
    session.print(answer, ({ added = 0, changed = 0, failed = [] }) =>
      [
        `${added} added, ${changed} changed, ${failed.length} failed\n`,
        ...failed.map(({ line, error }) => `line ${line}: ${error}\n`),
      ].join(''),
    )
    return answer.failed?.length ? 1 : 0
  },
})

function readLines(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new SshoalError('UNREADABLE', `cannot read ${file}: ${errorText(error)}`, { cause: error })
  }
}
