// Server-sent events (HTML Living Standard §9.2) as the master sends them: parsing, and going on after the last id
// when the connection breaks. An error that trying again cannot heal ends it.
import { setTimeout as sleep } from 'node:timers/promises'

import { SshoalError } from '@sshoal/shared'

import type { RestClient } from './rest-client.ts'

export interface ServerEvent {
  id: string
  type: string
  data: string
}

/** Cuts a stream of text into events; comments and unknown fields are skipped. */
export async function* parseEvents(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder()
  let rest = ''
  let id = ''
  let type = 'message'
  let data: string[] = []
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield { id, type, data: data.join('\n') }
        type = 'message'
        data = []
        continue
      }
      const colon = line.indexOf(':')
      const field = colon === -1 ? line : line.slice(0, colon)
      const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '')
      if (field === 'id') id = value
      else if (field === 'event') type = value
      else if (field === 'data') data.push(value)
    }
  }
}

export interface FollowOptions {
  path: string
  query?: Record<string, string | undefined>
  /** Where to begin; undefined: now. */
  lastEventId: string | undefined
  /** Told when a connection stands. */
  onOpen?(): void
  /** Told before each wait for a new connection. */
  onBreak(reason: SshoalError, waitMs: number): void
  signal: AbortSignal
  /** How long to wait before the second connection, in ms; each further wait is twice as long. */
  firstWaitMs?: number
}

const FIRST_WAIT_MS = 1_000
const LONGEST_WAIT_MS = 30_000

/** Events without end, over as many connections as it takes. Throws when the master refuses the call. */
export async function* followEvents(rest: RestClient, options: FollowOptions): AsyncGenerator<ServerEvent> {
  let last = options.lastEventId
  const firstWaitMs = options.firstWaitMs ?? FIRST_WAIT_MS
  let waitMs = firstWaitMs
  for (;;) {
    let reason = new SshoalError('STREAM_ENDED', 'the master ended the stream')
    try {
      const headers = {
        accept: 'text/event-stream',
        ...(last === undefined ? {} : { 'last-event-id': last }),
      }
      const response = await rest.open(options.path, { query: options.query, headers }, options.signal)
      options.onOpen?.()
      for await (const event of parseEvents(bodyOf(response, options.signal))) {
        waitMs = firstWaitMs
        if (event.id !== '') last = event.id
        yield event
      }
    } catch (error) {
      if (options.signal.aborted) return
      if (error instanceof SshoalError && error.code !== 'UNREACHABLE') throw error
      reason = error instanceof SshoalError ? error : new SshoalError('STREAM_BROKEN', 'the connection broke')
    }
    options.onBreak(reason, waitMs)
    await sleep(waitMs, undefined, { signal: options.signal })
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)
  }
}

/** The bytes of an answer until it ends or is aborted. */
async function* bodyOf(response: Response, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader()
  if (!reader) return
  // fetch holds the signal through its request only weakly: once that is collected, an abort no longer ends the body
  // (Node 20). The reader is ours.
  const cancel = (): void => void reader.cancel().catch(() => undefined)
  signal.addEventListener('abort', cancel)
  try {
    for (;;) {
      const { done, value } = await reader.read()
      signal.throwIfAborted()
      if (done) return
      yield value
    }
  } finally {
    signal.removeEventListener('abort', cancel)
  }
}
