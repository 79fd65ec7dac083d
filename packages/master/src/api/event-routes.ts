// `/cluster/events`: opens streams, and ends them when their token does, or when the master stops.
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'

import type { Principal } from '../tokens/token.ts'
import { principalOf, projectFilter, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { EventStream } from './event-stream.ts'
import { errors, textAnswer, type Api } from './schema.ts'

/** The longest that a Node timer can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1

interface OpenStream {
  stream: EventStream
  principal: Principal
  expiry: NodeJS.Timeout | undefined
}

export async function eventRoutes(api: Api, { events, tokens }: ApiDeps): Promise<void> {
  const open = new Set<OpenStream>()

  const stopListening = tokens.onRevoked((tokenId) => {
    for (const { stream, principal } of open) if (principal.tokenId === tokenId) stream.end()
  })
  api.addHook('preClose', async () => {
    stopListening()
    for (const { stream } of open) stream.end()
  })

  api.get(
    '/cluster/events',
    {
      exposeHeadRoute: false,
      config: { access: 'operator' },
      schema: {
        operationId: 'streamEvents',
        tags: ['cluster'],
        summary: 'What happens, as server-sent events',
        description:
          '`Last-Event-ID` (or `?lastEventId=`) resumes behind that event; an id that is gone gets `events.gap` first. Refusals fold to one per source and reason a minute, with a count.',
        querystring: Type.Object({
          lastEventId: Type.Optional(Type.String({ maxLength: 30 })),
          ...ProjectQuery,
        }),
        response: { 200: textAnswer('The stream.', 'text/event-stream'), ...errors(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      const project = projectFilter(request, request.query.project)
      const lastEventId = readLastEventId(request, request.query.lastEventId)
      reply.hijack()
      const entry: Partial<OpenStream> & Pick<OpenStream, 'principal'> = { principal, expiry: undefined }
      entry.stream = new EventStream({
        response: reply.raw,
        events,
        project,
        lastEventId,
        onEnd: () => {
          clearTimeout(entry.expiry)
          open.delete(entry as OpenStream)
        },
      })
      if (principal.expiresAt !== undefined)
        entry.expiry = setTimeout(
          () => entry.stream?.end(),
          Math.min(MAX_TIMER_MS, Math.max(0, principal.expiresAt - Date.now())),
        )
      open.add(entry as OpenStream)
    },
  )
}

/** Something that is no id of ours is as good as one that is gone: the reader gets a gap. */
function readLastEventId(request: FastifyRequest, asked: string | undefined): number | undefined {
  const text = [request.headers['last-event-id']].flat()[0] ?? asked
  if (text === undefined || text === '') return undefined
  return /^\d{1,17}$/.test(text) ? Number(text) : -1
}
