// A store as text, one JSON value per line: a head (format, schema, id), the records, and an end that counts them, so that
// half an export is never taken for one. The same for every kind of store; it moves what is durable from one to another.
import { SshoalError } from '@sshoal/shared'
import { Type, type Static } from 'typebox'
import { Compile } from 'typebox/compile'

import { checkSchema, migrateRecords } from './schema.ts'
import type { ClaimedRecord, RestoreOptions, Snapshot, Store } from './store.ts'

const HeadLine = Type.Object({
  sshoal: Type.Literal('store'),
  schema: Type.Integer({ minimum: 1 }),
  id: Type.String({ minLength: 1, maxLength: 100 }),
  version: Type.Integer({ minimum: 0 }),
  invalidation: Type.Integer({ minimum: 0 }),
})
type Head = Static<typeof HeadLine>

const RecordLine = Type.Object({
  kind: Type.String({ minLength: 1 }),
  project: Type.String({ minLength: 1 }),
  id: Type.String(),
  version: Type.Integer({ minimum: 0 }),
  value: Type.Unknown(),
  claims: Type.Array(
    Type.Object({
      index: Type.String({ minLength: 1 }),
      value: Type.String(),
      everywhere: Type.Optional(Type.Boolean()),
    }),
  ),
})

const EndLine = Type.Object({ end: Type.Integer({ minimum: 0 }) })

const [headForm, recordForm, endForm] = [Compile(HeadLine), Compile(RecordLine), Compile(EndLine)]

/** Lines without their newline. One consistent view, however long it takes to read. Tokens are in it as hashes. */
export async function* exportStore(store: Store): AsyncGenerator<string, void> {
  yield* exportLines(await store.snapshot())
}

export async function* exportLines({ records, ...rest }: Snapshot): AsyncGenerator<string, void> {
  const head: Head = { sshoal: 'store', ...rest }
  let count = 0
  try {
    yield JSON.stringify(head)
    for await (const { kind, project, id, version, value, claims } of records) {
      count++
      // In one order, so that two exports can be compared.
      yield JSON.stringify({ kind, project, id, version, value, claims })
    }
    yield JSON.stringify({ end: count })
  } finally {
    await records.return()
  }
}

/**
 * The store becomes the one that was exported, its id included, at once or not at all; an older export is brought to
 * today's schema. Resolves with the number of records of the export.
 * Throws INVALID_EXPORT naming the line, STORE_TOO_NEW, STORE_NOT_EMPTY unless it may be replaced.
 */
export async function importStore(
  store: Pick<Store, 'schema' | 'restore'>,
  lines: AsyncIterable<string> | Iterable<string>,
  options: RestoreOptions = {},
): Promise<number> {
  const reader = new Reader(lines)
  const head = await reader.head()
  const { schema } = store
  checkSchema(head.schema, schema, 'export it again with this version')
  const { sshoal: _, ...rest } = head
  const records = migrateRecords(reader.records(), head.schema, schema)
  const snapshot: Snapshot = { ...rest, schema: schema.number, records }
  await store.restore(snapshot, options)
  return reader.count
}

class Reader {
  count = 0
  readonly #lines: AsyncIterator<string> | Iterator<string>
  #number = 0

  constructor(lines: AsyncIterable<string> | Iterable<string>) {
    this.#lines = Symbol.asyncIterator in lines ? lines[Symbol.asyncIterator]() : lines[Symbol.iterator]()
  }

  async head(): Promise<Head> {
    const value = await this.#next()
    if (!headForm.Check(value)) throw this.#invalid('this is not an export of sshoal')
    return value
  }

  /** Looks that nothing is there twice, because the engines take each line's word. */
  async *records(): AsyncGenerator<ClaimedRecord, void> {
    const seen = new Set<string>()
    const once = (...parts: string[]) => {
      const name = JSON.stringify(parts)
      if (seen.has(name)) throw this.#invalid(`${parts.join(' ')} is there twice`)
      seen.add(name)
    }
    for (;;) {
      const value = await this.#next()
      if (value === undefined) throw this.#invalid('the export ends before its end')
      if (endForm.Check(value)) {
        if (value.end !== this.count)
          throw this.#invalid(`the export says ${value.end} records, ${this.count} are there`)
        return
      }
      if (!recordForm.Check(value)) throw this.#invalid('this is no record')
      once(value.kind, value.project, value.id)
      for (const claim of value.claims)
        once(value.kind, claim.index, claim.value, claim.everywhere ? '*' : value.project, 'claimed')
      this.count++
      const { kind, project, id, version } = value
      const claims = value.claims.map(({ index, value, everywhere }) =>
        everywhere ? { index, value, everywhere } : { index, value },
      )
      yield { kind, project, id, version, value: value.value, claims }
    }
  }

  /** Undefined: no line is left. */
  async #next(): Promise<unknown> {
    for (;;) {
      const { done, value } = await this.#lines.next()
      if (done) return undefined
      this.#number++
      if (value.trim() === '') continue
      try {
        return JSON.parse(value) as unknown
      } catch {
        throw this.#invalid('this is not JSON')
      }
    }
  }

  #invalid(message: string): SshoalError {
    return new SshoalError('INVALID_EXPORT', `line ${this.#number}: ${message}`, {
      details: { line: this.#number },
    })
  }
}
