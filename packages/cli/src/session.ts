// One call of a verb over REST: the client, what it prints, and the question before something is deleted.
import { SshoalError, type Values } from '@sshoal/shared'

import type { clientOptions } from './client-options.ts'
import { RestClient } from './rest-client.ts'
import { formatTable, type Column } from './table.ts'
import type { Context } from './verb.ts'

/** How many rows are asked for at once. */
const PAGE = 500

export type Pages<K extends string, T> = Record<K, T[]> & { next: string | null }

export class Session {
  readonly rest: RestClient
  readonly #json: boolean
  readonly #context: Context

  constructor(values: Values<typeof clientOptions>, context: Context) {
    this.rest = new RestClient(values)
    this.#json = values.json
    this.#context = context
  }

  /** The answer as it is for programs, else what `forPeople` makes of it. */
  print<T>(answer: T, forPeople: (answer: T) => string): number {
    const text = this.#json ? `${JSON.stringify(answer ?? null, undefined, 2)}\n` : forPeople(answer)
    this.#context.terminal.out(text)
    return 0
  }

  /** All pages of a list up to `limit` rows, as one answer. */
  async pages<K extends string, T>(
    path: string,
    key: K,
    query: Record<string, string | undefined>,
    limit: number,
  ): Promise<Pages<K, T>> {
    const rows: T[] = []
    let next: string | null = null
    do {
      const page: Pages<K, T> = await this.rest.call(path, {
        query: { ...query, limit: Math.min(PAGE, limit - rows.length), cursor: next ?? undefined },
      })
      rows.push(...page[key])
      next = page.next ?? null
    } while (next !== null && rows.length < limit)
    return { [key]: rows, next } as Pages<K, T>
  }

  table<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
    return formatTable(columns, rows, this.#context.terminal.width)
  }

  /** Returns when the person said yes or nobody needs to be asked. Throws NOT_CONFIRMED. */
  async confirm(question: string, yes: boolean): Promise<void> {
    if (yes) return
    const { terminal } = this.#context
    if (!terminal.asks)
      throw new SshoalError('NOT_CONFIRMED', `${question} Nobody is at a terminal to say yes; add --yes`)
    if (!(await terminal.confirm(question))) throw new SshoalError('NOT_CONFIRMED', 'nothing was changed')
  }
}

/** A path segment of a route. */
export function segment(text: string): string {
  return encodeURIComponent(text)
}
