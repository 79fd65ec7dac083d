// `/api/sshKeyGen`: the call of the key service that leases replace, for clients that cannot be changed but for a header:
// query or form, `{"key","port"}`, its own words for what is missing. A lease like any other stands behind it.
import { SshoalError } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'

import { oneProject, principalOf } from './access.ts'
import type { ApiDeps } from './build-api.ts'
import { requirePrivacy } from './lease-view.ts'
import { errors, type Api } from './schema.ts'

const KeyBody = Type.Object({
  key: Type.String({ description: 'The private key, RSA 2048, PEM; given this once.' }),
  port: Type.Integer(),
})

/** What the service said where the leases have more to say. */
const WORDS: Record<string, string> = {
  INVALID_TIMEOUT: 'The timeout provided is not valid.',
  INVALID_MAC: 'The macaddress provided is not valid.',
  NO_PORT: 'There is no port available for the reverse ssh connection.',
  KEY_FAILED: 'There was an error generating ssh keys',
}

export async function sshKeyGenRoutes(api: Api, { leases }: ApiDeps): Promise<void> {
  api.removeContentTypeParser('application/json')
  api.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    (_request, body, done) => done(null, Object.fromEntries(new URLSearchParams(body as string))),
  )
  api.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, body === '' ? {} : JSON.parse(body as string))
    } catch {
      done(new SshoalError('INVALID_JSON', 'the body is not JSON'))
    }
  })

  for (const [url, name] of [
    ['/api/sshKeyGen', 'sshKeyGen'],
    ['/api', 'api'],
  ] as const)
    for (const method of ['GET', 'POST'] as const)
      api.route({
        method,
        url,
        exposeHeadRoute: false, // HEAD would issue a lease that nobody sees
        config: { access: 'integrator' },
        schema: {
          operationId: method === 'GET' ? name : `${name}Post`,
          tags: ['leases'],
          summary: 'A lease as the older key service gave it: macaddress and timeout in, key and port out',
          description: 'Parameters in the query or in a form; any others are passed over.',
          response: { 200: KeyBody, ...errors(400, 401, 403, 503) },
        },
        handler: async (request, reply) => {
          const given = parameters(request)
          if (url === '/api' && given('action') !== 'sshKeyGen')
            throw new SshoalError('INVALID_ACTION', 'unknown action or invalid apiVersion')
          const macaddress = given('macaddress')
          const timeout = given('timeout')
          if (macaddress === undefined) throw required('macaddress')
          if (timeout === undefined) throw required('timeout')
          // Digits alone: this service never knew durations.
          if (!/^\d{1,15}$/.test(timeout))
            throw new SshoalError('INVALID_TIMEOUT', WORDS.INVALID_TIMEOUT ?? '')
          requirePrivacy(request)
          const { lease, privateKey = '' } = await leases
            .request(oneProject(request, given('project')), {
              macaddress,
              timeout: Number(timeout),
              type: 'rsa',
              issuedBy: principalOf(request).tokenId,
            })
            .catch((error: unknown) => {
              throw inItsWords(error)
            })
          return reply.header('cache-control', 'no-store').send({ key: privateKey, port: lease.port })
        },
      })
}

/** Query and form together; an empty text, null and nothing are all missing. */
function parameters(request: FastifyRequest): (name: string) => string | undefined {
  const all = { ...(request.query as object), ...(request.body as object | undefined) } as Record<
    string,
    unknown
  >
  return (name) => {
    const value = all[name]
    if (value === undefined || value === null || value === '') return undefined
    // A list, an object: no text that could mean anything here.
    return typeof value === 'string' || typeof value === 'number' ? String(value) : 'not a text'
  }
}

function required(name: string): SshoalError {
  return new SshoalError('INVALID_REQUEST', `${name} is a required parameter for this action`)
}

function inItsWords(error: unknown): unknown {
  if (!(error instanceof SshoalError)) return error
  return new SshoalError(error.code, WORDS[error.code] ?? error.message, { cause: error })
}
