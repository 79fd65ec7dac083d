// The store as a whole: which one it is, saying that another one is right, and moving all of it from one to another while
// the master works. Lines go out and come in as a stream; a store may be larger than memory.
import { Readable } from 'node:stream'

import { errorText, SshoalError } from '@sshoal/shared'
import { Type } from 'typebox'

import { exportStore, importStore } from '../store/store-export.ts'
import type { Store } from '../store/store.ts'
import { principalOf, requireAllProjects } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { errors, textAnswer, type Api } from './schema.ts'

const NDJSON = 'application/x-ndjson'
const MAX_LINE_BYTES = 16 * 1024 * 1024
const CHUNK_BYTES = 64 * 1024

export async function storeRoutes(api: Api, { store, cluster, log }: ApiDeps): Promise<void> {
  const config = { access: 'admin' } as const
  const tags = ['store']

  // An import is read line by line as it comes, whatever its size; the other routes have no body.
  api.removeAllContentTypeParsers()
  api.addContentTypeParser('*', (_request, body, done) => done(null, body))

  api.get(
    '/store',
    {
      config,
      schema: {
        operationId: 'getStore',
        tags,
        summary: 'Which store this is, and whether it can be asked',
        response: {
          200: Type.Object({
            id: Type.String({ description: 'Random; another id is another store.' }),
            state: Type.Union([Type.Literal('ok'), Type.Literal('away'), Type.Literal('changed')], {
              description:
                '`away`: it does not answer. `changed`: another one answers; import a backup or accept it.',
            }),
            schema: Type.Integer({ description: 'What this program writes.' }),
          }),
          ...errors(401, 403),
        },
      },
    },
    async (request) => {
      requireAllProjects(request)
      return { id: store.id, state: store.state, schema: store.schema.number }
    },
  )

  api.post(
    '/store/accept',
    {
      config,
      schema: {
        operationId: 'acceptStore',
        tags,
        summary: 'Take the store that answers now as the right one, for all masters that knew the one before',
        description:
          'Only after the store was lost or replaced. Devices and tokens are then what is in it. Live tunnels stay: whom it does not know is refused at the next login, and cut when a recheck or a change names the key.',
        response: { 200: Type.Object({ id: Type.String() }), ...errors(401, 403, 409, 503) },
      },
    },
    async (request) => {
      requireAllProjects(request)
      const before = store.id
      const id = await store.accept()
      log.warn({ before, id, by: principalOf(request).tokenId }, 'store accepted')
      return { id }
    },
  )

  api.get(
    '/store/export',
    {
      exposeHeadRoute: false,
      config,
      schema: {
        operationId: 'exportStore',
        tags,
        summary: 'All that is durable, as JSON lines: one consistent view, while others write',
        description:
          'The first line says which store it was, the last how many records there are: without it the export is not whole. Tokens are in it as hashes.',
        response: { 200: textAnswer('The lines.', NDJSON), ...errors(401, 403, 503) },
      },
    },
    async (request, reply) => {
      requireAllProjects(request)
      const lines = exportStore(store)
      // What goes wrong before the first line is still an answer with a status.
      const first = await lines.next()
      log.info({ store: store.id, by: principalOf(request).tokenId }, 'store exported')
      const stream = Readable.from(chunks(first.value ?? '', lines), { objectMode: false })
      stream.on('error', (error) => log.warn({ reason: errorText(error) }, 'an export broke off'))
      return reply.type(`${NDJSON}; charset=utf-8`).header('cache-control', 'no-store').send(stream)
    },
  )

  api.post(
    '/store/import',
    {
      config,
      // Read as a stream, never kept: no limit.
      bodyLimit: Number.MAX_SAFE_INTEGER,
      schema: {
        operationId: 'importStore',
        tags,
        summary: 'Become the store that was exported, at once or not at all',
        description:
          'The body is what `GET /store/export` gave. Where there are records already it takes `replace=true`. Afterwards the hook is asked again about everybody, and who is now refused is cut.',
        consumes: [NDJSON],
        querystring: Type.Object({ replace: Type.Optional(Type.Boolean()) }),
        response: {
          200: Type.Object({ records: Type.Integer(), id: Type.String() }),
          ...errors(400, 401, 403, 409, 503),
        },
      },
    },
    async (request) => {
      requireAllProjects(request)
      const { replace = false } = request.query
      const records = await importStore(store, linesOf(request.body), { replace })
      log.warn({ records, id: store.id, by: principalOf(request).tokenId }, 'store imported')
      await settle(store)
      cluster.fixedPortsChanged()
      await cluster.invalidate(null)
      return { records, id: store.id }
    },
  )
}

/** In pieces of a size that is worth a packet. */
async function* chunks(first: string, rest: AsyncIterable<string>): AsyncGenerator<string, void> {
  let text = `${first}\n`
  for await (const line of rest) {
    text += `${line}\n`
    if (text.length < CHUNK_BYTES) continue
    yield text
    text = ''
  }
  yield text
}

/** Throws INVALID_EXPORT for what is no text of lines. */
async function* linesOf(body: unknown): AsyncGenerator<string, void> {
  if (!(body instanceof Readable)) return
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  try {
    for await (const chunk of body) {
      const lines = (rest + decoder.decode(chunk as Buffer, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      if (rest.length > MAX_LINE_BYTES) throw new SshoalError('INVALID_EXPORT', 'a line has no end')
      yield* lines
    }
    rest += decoder.decode()
  } catch (error) {
    if (error instanceof SshoalError) throw error
    throw new SshoalError('INVALID_EXPORT', `the export ends before its end: ${errorText(error)}`)
  }
  if (rest !== '') yield rest
}

/** The import is in place; a store elsewhere says so at its next word. */
async function settle(store: Store): Promise<void> {
  await store.lastInvalidation()
}
