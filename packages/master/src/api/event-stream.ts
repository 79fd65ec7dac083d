// One reader of the events, over server-sent events (HTML Living Standard §9.2). It pulls from the ring at its own pace:
// nothing is queued for it, so a slow reader costs nothing; one that takes nothing for long is dropped and can resume.
import type { ServerResponse } from 'node:http'

import type { ClusterEvent, Events } from '../events/events.ts'

export interface EventStreamOptions {
  response: ServerResponse
  events: Events
  /** Undefined: all projects. */
  project: string | undefined
  /** The last event the reader has; undefined: from now on. */
  lastEventId: number | undefined
  /** Once, whatever ended it. */
  onEnd(): void
  /** How long a reader may take nothing, ms. Default 30 s. */
  stallMs?: number
}

const BATCH = 500
const COMMENT_EVERY_MS = 15_000
const STALL_MS = 30_000
const RETRY_MS = 2_000

export class EventStream {
  readonly #options: EventStreamOptions
  readonly #unsubscribe: () => void
  readonly #commenting: NodeJS.Timeout
  #stalled: NodeJS.Timeout | undefined
  #cursor: number
  #ended = false

  constructor(options: EventStreamOptions) {
    this.#options = options
    const { response, events } = options
    response.on('error', () => this.end())
    response.on('close', () => this.end())
    response.on('drain', () => this.#resume())
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no', // nginx would else hold events back
    })
    this.#cursor = options.lastEventId ?? events.lastId
    this.#commenting = setInterval(() => this.#comment(), COMMENT_EVERY_MS)
    this.#unsubscribe = events.subscribe(() => this.#pull())
    response.write(`retry: ${RETRY_MS}\n\n`)
    this.#pull()
  }

  /** Ends the response; the reader comes back by itself, with the id it saw last. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    clearInterval(this.#commenting)
    clearTimeout(this.#stalled)
    this.#unsubscribe()
    this.#options.response.end()
    this.#options.onEnd()
  }

  #pull(): void {
    const { events, project, response } = this.#options
    while (!this.#ended && this.#stalled === undefined) {
      const { gap, events: batch, goneUpTo } = events.after(this.#cursor, BATCH)
      if (!gap && batch.length === 0) return
      let text = ''
      if (gap) {
        text += frame({ id: goneUpTo, type: 'events.gap', data: { lastEventId: this.#cursor } })
        this.#cursor = goneUpTo
      }
      for (const event of batch) {
        this.#cursor = event.id
        if (project === undefined || event.project === undefined || event.project === project)
          text += frame(event)
      }
      if (text !== '' && !response.write(text)) this.#stall()
    }
  }

  #stall(): void {
    this.#stalled = setTimeout(() => {
      this.#options.response.destroy()
      this.end()
    }, this.#options.stallMs ?? STALL_MS)
  }

  #resume(): void {
    clearTimeout(this.#stalled)
    this.#stalled = undefined
    this.#pull()
  }

  #comment(): void {
    if (this.#stalled === undefined) this.#options.response.write(':\n\n')
  }
}

function frame({
  id,
  type,
  data,
  ...rest
}: Pick<ClusterEvent, 'id' | 'type' | 'data'> & Partial<ClusterEvent>): string {
  return `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify({ ...rest, ...data })}\n\n`
}
