// `sshoal events`: what happened lately, and with --follow what happens next. JSON is one event per line.
import { option, SshoalError } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { followEvents, type ServerEvent } from '../event-stream.ts'
import { eventText } from '../event-text.ts'
import { RestClient } from '../rest-client.ts'
import { verb } from '../verb.ts'

/** Without --follow: the past is over when the stream has been silent this long, in ms. */
const SILENCE_MS = 500

export const events = verb({
  name: 'events',
  summary: 'show what happened in the last hour; --follow goes on',
  options: {
    follow: option.toggle({ describe: 'go on with what happens next, until Ctrl-C' }),
    after: option.text({ describe: 'only after the event with this id', placeholder: 'ID' }),
    ...clientOptions,
  },
  examples: ['sshoal events', 'sshoal events --follow --json | jq .type'],
  async run({ values, context }) {
    const stop = new AbortController()
    let silence: NodeJS.Timeout | undefined
    const expectMore = (): void => {
      clearTimeout(silence)
      if (!values.follow) silence = setTimeout(() => stop.abort(), SILENCE_MS)
    }
    const stream = followEvents(new RestClient(values), {
      path: '/cluster/events',
      lastEventId: values.after ?? '0',
      signal: stop.signal,
      onOpen: expectMore,
      onBreak(reason, waitMs) {
        if (!values.follow) throw reason
        context.terminal.err(`${reason.message}; trying again in ${waitMs / 1_000} s\n`)
      },
    })
    let first = values.after === undefined
    for await (const event of stream) {
      expectMore()
      // Who asks for all that is kept knows that there was more before.
      const expected = first && event.type === 'events.gap'
      first = false
      if (expected) continue
      context.terminal.out(
        values.json ? `${jsonLine(event)}\n` : `${eventText({ ...parse(event), type: event.type })}\n`,
      )
    }
    return 0
  },
})

function parse(event: ServerEvent): Record<string, unknown> {
  try {
    const data: unknown = JSON.parse(event.data)
    if (typeof data === 'object' && data !== null) return data as Record<string, unknown>
  } catch (error) {
    throw new SshoalError('BAD_EVENT', `event ${event.id} of the master is not JSON`, { cause: error })
  }
  return { data: event.data }
}

function jsonLine(event: ServerEvent): string {
  return JSON.stringify({ id: event.id, type: event.type, ...parse(event) })
}
