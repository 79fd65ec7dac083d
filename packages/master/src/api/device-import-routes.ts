// Many devices in one request, and the list of keys that were refused lately: how a fleet gets in.
import { SshoalError } from '@sshoal/shared'
import { Type } from 'typebox'

import { importDevices, readJsonLines, type ImportLine } from '../registry/device-import.ts'
import { oneProject, projectFilter, ProjectQuery } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { errors, type Api } from './schema.ts'

const MAX_IMPORT_BYTES = 32 * 1024 * 1024

export async function deviceImportRoutes(api: Api, { registry, refused }: ApiDeps): Promise<void> {
  const config = { access: 'admin' } as const
  const tags = ['devices']

  // A body of lines has no one schema: each line is checked by itself.
  api.removeAllContentTypeParsers()
  api.addContentTypeParser('*', { parseAs: 'string', bodyLimit: MAX_IMPORT_BYTES }, (_request, body, done) =>
    done(null, body),
  )

  api.post(
    '/devices/import',
    {
      config,
      bodyLimit: MAX_IMPORT_BYTES,
      schema: {
        operationId: 'importDevices',
        tags,
        summary: 'Let many devices in: JSON lines or a JSON array; each line is taken whole or not at all',
        consumes: ['application/x-ndjson', 'application/json'],
        querystring: Type.Object(ProjectQuery),
        response: {
          200: Type.Object({
            created: Type.Integer(),
            unchanged: Type.Integer({ description: 'Were there already, exactly so.' }),
            problems: Type.Array(
              Type.Object({ line: Type.Integer(), code: Type.String(), error: Type.String() }),
              { description: 'One per line that was not taken.' },
            ),
          }),
          ...errors(400, 401, 403, 413, 503),
        },
      },
    },
    async (request) => {
      const project = oneProject(request, request.query.project)
      return importDevices(registry, project, readLines(request.body))
    },
  )

  api.get(
    '/devices/refused',
    {
      config,
      schema: {
        operationId: 'listRefused',
        tags,
        summary: 'The keys that were refused lately, newest first; not kept over a restart',
        querystring: Type.Object(ProjectQuery),
        response: {
          200: Type.Object({
            refused: Type.Array(
              Type.Object({
                fingerprint: Type.String(),
                key: Type.Union([Type.String(), Type.Null()], {
                  description: 'The OpenSSH line; null: not a key that could be let in.',
                }),
                code: Type.String(),
                reason: Type.String(),
                remoteAddress: Type.String(),
                username: Type.Optional(Type.String()),
                project: Type.Optional(Type.String()),
                device: Type.Optional(Type.String()),
                count: Type.Integer(),
                firstAt: Type.String(),
                lastAt: Type.String(),
              }),
            ),
          }),
          ...errors(400, 401, 403),
        },
      },
    },
    async (request) => ({
      refused: refused
        .list(projectFilter(request, request.query.project))
        .map(({ fingerprint, key, code, reason, remoteAddress, count, firstAt, lastAt, ...rest }) => ({
          fingerprint,
          key,
          code,
          reason,
          remoteAddress,
          count,
          ...(rest.username === undefined ? {} : { username: rest.username }),
          ...(rest.project === undefined ? {} : { project: rest.project }),
          ...(rest.device === undefined ? {} : { device: rest.device }),
          firstAt: new Date(firstAt).toISOString(),
          lastAt: new Date(lastAt).toISOString(),
        })),
    }),
  )
}

function readLines(body: unknown): ImportLine[] {
  const text = typeof body === 'string' ? body : ''
  const lines = text.trimStart().startsWith('[') ? readArray(text) : readJsonLines(text)
  if (lines.length === 0)
    throw new SshoalError('INVALID_BODY', 'the body is empty: send one JSON object per line, or a JSON array')
  return lines
}

function readArray(text: string): ImportLine[] {
  try {
    return (JSON.parse(text) as unknown[]).map((value, index) => ({ line: index + 1, value }))
  } catch (error) {
    throw new SshoalError('INVALID_JSON', 'the body begins as a JSON array and is none', { cause: error })
  }
}
