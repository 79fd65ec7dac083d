// `sshoal store`: which store the masters work with, saying that another one is right, and moving all of it as a file.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'

import { option, SshoalError } from '@sshoal/shared'

import { clientOptions, confirmOptions } from '../client-options.ts'
import { Session } from '../session.ts'
import { verb, type Group } from '../verb.ts'

/** A store of millions of records takes its time. */
const DEADLINE_MS = 3_600_000

// It concerns no project.
const { project: _project, ...options } = clientOptions
const whole = { project: undefined }

const STATES: Record<string, string> = {
  ok: 'answers',
  away: 'does not answer',
  changed: 'is another one than before; import a backup, or say `sshoal store accept`',
}

const show = verb({
  name: 'show',
  summary: 'show which store the master works with, and whether it can be asked',
  options,
  async run({ values, context }) {
    const session = new Session({ ...values, ...whole }, context)
    const answer = await session.rest.call<{ id: string; state: string; schema: number }>('/store')
    return session.print(
      answer,
      ({ id, state, schema }) => `store ${id}, schema ${schema}: ${STATES[state] ?? state}\n`,
    )
  },
})

const accept = verb({
  name: 'accept',
  summary: 'take the store that answers now as the right one, after it was lost or replaced',
  options: { ...confirmOptions, ...options },
  async run({ values, context }) {
    const session = new Session({ ...values, ...whole }, context)
    await session.confirm('Take what is in the store now as all devices and tokens there are?', values.yes)
    const answer = await session.rest.call<{ id: string }>('/store/accept', { method: 'POST' })
    return session.print(answer, ({ id }) => `store ${id} accepted\n`)
  },
})

const exportTo = verb({
  name: 'export',
  summary: 'save all that is durable to a file, as one consistent view',
  operands: [{ name: 'FILE', describe: 'made for its owner alone (0600); it is there whole or not at all' }],
  options,
  examples: ['sshoal store export sshoal-store.ndjson'],
  async run({ values, operands, context }) {
    const [file = ''] = operands
    const session = new Session({ ...values, ...whole }, context)
    const accept = { accept: 'application/x-ndjson' }
    const response = await session.rest.open(
      '/store/export',
      { headers: accept },
      AbortSignal.timeout(DEADLINE_MS),
    )
    const counted = { lines: 0, last: '' }
    // The master's rooms take long to load, and other verbs need none of them.
    const { saveExport } = await import('@sshoal/master')
    await saveExport(file, wholeLines(response, counted))
    const records = counted.lines - 2
    return session.print({ file, records }, () => `${file}: ${records} records\n`)
  },
})

const importFrom = verb({
  name: 'import',
  summary: 'become the store that was exported, at once or not at all',
  operands: [{ name: 'FILE', describe: 'as `sshoal store export` made it' }],
  options: {
    replace: option.toggle({ describe: 'also where there are records already, which are then gone' }),
    ...confirmOptions,
    ...options,
  },
  examples: ['sshoal store import sshoal-store.ndjson --replace'],
  async run({ values, operands, context }) {
    const [file = ''] = operands
    const session = new Session({ ...values, ...whole }, context)
    await checkHead(file)
    if (values.replace)
      await session.confirm('Replace all devices and tokens of this store by those of the file?', values.yes)
    const { size } = await stat(file)
    const stream = createReadStream(file)
    const answer = await session.rest.call<{ records: number; id: string }>('/store/import', {
      method: 'POST',
      query: { replace: values.replace ? 'true' : undefined },
      stream: { type: 'application/x-ndjson', body: Readable.toWeb(stream) as ReadableStream, size },
      deadlineMs: DEADLINE_MS,
    })
    return session.print(
      answer,
      ({ records, id }) => `${records} records imported; this is store ${id} now\n`,
    )
  },
})

/** Its lines; throws where the end that every export has did not come: the master broke off. */
async function* wholeLines(
  response: Response,
  counted: { lines: number; last: string },
): AsyncGenerator<string, void> {
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for await (const chunk of response.body ?? []) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        counted.lines++
        counted.last = line
        yield line
      }
    }
  } catch (error) {
    throw new SshoalError('EXPORT_BROKEN', 'the master broke off the export; nothing was saved, try again', {
      cause: error,
    })
  }
  if (rest !== '' || !/^\{"end":\d+\}$/.test(counted.last))
    throw new SshoalError('EXPORT_BROKEN', 'the export has no end; nothing was saved, try again')
}

/** A wrong file is told before anybody is asked. */
async function checkHead(file: string): Promise<void> {
  const { readExport } = await import('@sshoal/master')
  const lines = readExport(file)
  const { value } = await lines.next()
  await lines.return()
  if (typeof value !== 'string' || !value.startsWith('{"sshoal":"store"'))
    throw new SshoalError('INVALID_EXPORT', `${file} is not an export of sshoal`)
}

export const store: Group = {
  name: 'store',
  summary: 'show, export, import and accept the store',
  members: [show, exportTo, importFrom, accept],
}
