// The REST interface as verbs use it: one call, one answer or one clear sentence about what went wrong and what helps.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { errorText, SshoalError } from '@sshoal/shared'

/** How long a call may take, in ms. */
const DEADLINE_MS = 30_000

export interface RestSettings {
  url: string
  token: string | undefined
  /** Where `admin-token` lies when no token is given. */
  data: string
  /** For tokens that span all projects; undefined: what the master takes it for. */
  project: string | undefined
}

export interface RestRequest {
  method?: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  query?: Record<string, string | number | undefined>
  /** Sent as JSON. */
  json?: unknown
  /** Sent as it is, in place of `json`. */
  body?: { type: string; text: string }
  /** Sent as it comes, in place of both. */
  stream?: { type: string; body: ReadableStream; size: number }
  /** Default 30 s. */
  deadlineMs?: number
  headers?: Record<string, string>
}

export class RestClient {
  readonly #settings: RestSettings

  constructor(settings: RestSettings) {
    this.#settings = settings
  }

  /** The answer's JSON, undefined when it has no body. Throws SshoalError with the master's code. */
  async call<T>(path: string, request: RestRequest = {}): Promise<T> {
    const response = await this.open(path, request, AbortSignal.timeout(request.deadlineMs ?? DEADLINE_MS))
    try {
      const text = await response.text()
      return (text === '' ? undefined : JSON.parse(text)) as T
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /** The response itself, for streams; it is a good one. Throws like `call`. */
  async open(path: string, request: RestRequest, signal: AbortSignal): Promise<Response> {
    const url = new URL(this.#settings.url + path)
    const query: NonNullable<RestRequest['query']> = { project: this.#settings.project, ...request.query }
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(name, String(value))
    const token = this.#token()
    const headers: Record<string, string> = { accept: 'application/json', ...request.headers }
    if (token !== undefined) headers.authorization = `Bearer ${token}`
    if (request.stream) {
      headers['content-type'] = request.stream.type
      headers['content-length'] = String(request.stream.size)
    } else if (request.body) headers['content-type'] = request.body.type
    else if (request.json !== undefined) headers['content-type'] = 'application/json'
    const body = request.body?.text ?? (request.json === undefined ? undefined : JSON.stringify(request.json))
    let response: Response
    try {
      response = await fetch(url, {
        method: request.method ?? 'GET',
        headers,
        ...(request.stream ? { body: request.stream.body, duplex: 'half' as const } : { body }),
        signal,
        redirect: 'error',
      })
    } catch (error) {
      throw this.#explain(error)
    }
    if (!response.ok) throw await this.#refusal(response, token)
    return response
  }

  #token(): string | undefined {
    if (this.#settings.token !== undefined) return this.#settings.token
    try {
      return readFileSync(join(this.#settings.data, 'admin-token'), 'utf8').trim()
    } catch {
      // No master keeps its data here; the answer to a call without a token says what to do.
      return undefined
    }
  }

  async #refusal(response: Response, token: string | undefined): Promise<SshoalError> {
    const answer = await readRefusal(response)
    const code = answer.code ?? 'HTTP_ERROR'
    const said = answer.error ?? `the master answered ${response.status} ${response.statusText}`.trim()
    const hint = this.#hint(response.status, token)
    return new SshoalError(code, `${said} (${code})${hint ? `; ${hint}` : ''}`, {
      details: { status: response.status, ...answer.details },
    })
  }

  #hint(status: number, token: string | undefined): string | undefined {
    if (status === 401 && token === undefined)
      return `no token was shown: set SSHOAL_TOKEN, or --data to the folder of the master (${join(this.#settings.data, 'admin-token')} cannot be read)`
    if (status === 401)
      return this.#settings.token === undefined
        ? `the token in ${join(this.#settings.data, 'admin-token')} is not this master's; set SSHOAL_TOKEN, or --url to the right master`
        : 'the token of --token, --token-file or SSHOAL_TOKEN is wrong, revoked or past its end'
    if (status === 403) return 'the role of this token is not enough; see `sshoal token create --help`'
    return undefined
  }

  #explain(error: unknown): SshoalError {
    const { url } = this.#settings
    const code = causeCode(error)
    if (error instanceof Error && error.name === 'TimeoutError')
      return new SshoalError('TIMEOUT', `${url} did not answer within ${DEADLINE_MS / 1_000} s`, {
        cause: error,
      })
    if (code === 'ECONNREFUSED')
      return new SshoalError(
        'UNREACHABLE',
        `nobody listens at ${url}; is the master running? Start one with \`sshoal up\`, or say where it is with --url or SSHOAL_URL`,
        { cause: error },
      )
    if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
      return new SshoalError('UNREACHABLE', `the host of ${url} is not known; check --url or SSHOAL_URL`, {
        cause: error,
      })
    if (code?.includes('CERT') || code?.includes('SELF_SIGNED') || code === 'UNABLE_TO_VERIFY_LEAF_SIGNATURE')
      return new SshoalError(
        'UNTRUSTED',
        `the certificate of ${url} is not trusted (${code}); name its authority with NODE_EXTRA_CA_CERTS=FILE`,
        { cause: error },
      )
    const reason = error instanceof Error && error.cause ? errorText(error.cause) : errorText(error)
    return new SshoalError('UNREACHABLE', `no usable answer from ${url}: ${reason}`, { cause: error })
  }
}

interface Refusal {
  error?: string
  code?: string
  details?: Record<string, unknown>
}

async function readRefusal(response: Response): Promise<Refusal> {
  try {
    const answer = (await response.json()) as Record<string, unknown>
    return {
      ...(typeof answer.error === 'string' ? { error: answer.error } : {}),
      ...(typeof answer.code === 'string' ? { code: answer.code } : {}),
      ...(typeof answer.details === 'object' ? { details: answer.details as Record<string, unknown> } : {}),
    }
  } catch {
    // Something else than a master answered, a proxy for instance; the status says as much as there is.
    return {}
  }
}

/** The system's code of a failed fetch, which wraps it once or, for several addresses, twice. */
function causeCode(error: unknown): string | undefined {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    if ('code' in at && typeof at.code === 'string') return at.code
    if (at instanceof AggregateError && at.errors.length > 0) return causeCode(at.errors[0])
  }
  return undefined
}
