import type { IncomingMessage, ServerResponse } from 'node:http'

// How routes and their TypeBox schemas meet: types for handlers, one strict check for bodies, a lenient one for queries.
import { SshoalError } from '@sshoal/shared'
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifySchemaCompiler,
  FastifyTypeProvider,
  RawServerDefault,
} from 'fastify'
import { Type, type Static, type TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Value } from 'typebox/value'

import type { ErrorBody } from './error-body.ts'

export interface TypeboxProvider extends FastifyTypeProvider {
  validator: this['schema'] extends TSchema ? Static<this['schema']> : unknown
  serializer: this['schema'] extends TSchema ? Static<this['schema']> : unknown
}

/** A Fastify whose handlers know their schemas. */
export type Api = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeboxProvider
>

const MAX_PROBLEMS = 20

const errorRef = Type.Unsafe<ErrorBody>(Type.Ref('Error'))
const meaning: Record<number, string> = {
  400: 'The request is wrong; `details.problems` names the fields.',
  401: 'No token, or none that counts.',
  403: 'The token may not do this.',
  404: 'There is none of that name.',
  409: 'It does not fit what is there.',
  413: 'The body is too large.',
  429: 'Too many; `Retry-After` says when to come back.',
  503: 'Not at the moment; try again.',
}

/** Response schemas for the errors that a route can answer with. */
export function errors<S extends number>(...statuses: S[]): Record<S, typeof errorRef> {
  const entries = statuses.map((status): [number, typeof errorRef] => [
    status,
    Type.Unsafe<ErrorBody>(Type.Ref('Error', { description: meaning[status] ?? 'An error.' })),
  ])
  return Object.fromEntries(entries) as Record<S, typeof errorRef>
}

/** A good answer in other forms than JSON; `json`: in that form too. */
export function textAnswer(description: string, type: string, json?: TSchema): object {
  return {
    description,
    content: {
      ...(json ? { 'application/json': { schema: json } } : {}),
      [type]: { schema: Type.String() },
    },
  }
}

/** A body must be exactly its schema; texts of a query or path become the numbers that their schema asks for. */
export const compileSchema: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  // When it is asked for first: most routes are not, and compiling all of them held up every start.
  let compiled: ReturnType<typeof Compile> | undefined
  const isBody = httpPart === 'body'
  return (given: unknown) => {
    const check = (compiled ??= Compile(schema))
    const value = isBody ? given : Value.Convert(schema, { ...(given as object) })
    if (check.Check(value)) return { value }
    const problems = explainAll(check.Errors(value).slice(0, MAX_PROBLEMS))
    const first = problems[0]
    return {
      error: new SshoalError(
        isBody ? 'INVALID_BODY' : 'INVALID_QUERY',
        `${isBody ? 'the body' : 'the query'} is wrong: ${first?.path ?? '/'} ${first?.message ?? ''}`.trim(),
        { details: { problems } },
      ),
    }
  }
}

interface Problem {
  path: string
  message: string
}

interface SchemaError {
  instancePath: string
  message: string
  keyword: string
  params: object
}

/** Each once: an unknown field breaks two rules of a schema. */
function explainAll(errors: SchemaError[]): Problem[] {
  const problems = errors.flatMap(explain)
  return [...new Map(problems.map((problem) => [`${problem.path} ${problem.message}`, problem])).values()]
}

function explain(problem: SchemaError): Problem[] {
  const { additionalProperties, requiredProperties } = problem.params as {
    additionalProperties?: unknown
    requiredProperties?: unknown
  }
  if (problem.keyword === 'additionalProperties' && Array.isArray(additionalProperties))
    return additionalProperties.map((name) => ({
      path: `${problem.instancePath}/${String(name)}`,
      message: 'is not a known field',
    }))
  if (problem.keyword === 'required' && Array.isArray(requiredProperties))
    return requiredProperties.map((name) => ({
      path: `${problem.instancePath}/${String(name)}`,
      message: 'is missing',
    }))
  // What stands beside the known fields has the schema `false`.
  const message = problem.keyword === 'boolean' ? 'is not a known field' : problem.message
  return [{ path: problem.instancePath || '/', message }]
}
