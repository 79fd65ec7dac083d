// The verbs that are alike for every kind of record: `show` one, `rm` one, and the options of every `ls`.
import { option, SshoalError } from '@sshoal/shared'

import { clientOptions, confirmOptions } from './client-options.ts'
import { segment, Session } from './session.ts'
import { verb, type Operand, type Verb } from './verb.ts'

export interface Kind<T> {
  /** One of them, as in `grant`. */
  noun: string
  operand: Operand
  /** The route of all of them, as in `/grants`. */
  route: string
  describe(record: T): string
}

export function showVerb<T>({ noun, operand, route, describe }: Kind<T>): Verb {
  return verb({
    name: 'show',
    summary: `show all about one ${noun}`,
    operands: [operand],
    options: clientOptions,
    async run({ values, operands, context }) {
      const session = new Session(values, context)
      return session.print(await session.rest.call<T>(`${route}/${segment(operands[0] ?? '')}`), describe)
    },
  })
}

/** Asks first. `loss`: what goes with it, as in `and its grants; live visits are cut`. */
export function removeVerb({ noun, operand, route }: Kind<never>, loss: string): Verb {
  return verb({
    name: 'rm',
    summary: `remove a ${noun} ${loss}`,
    operands: [operand],
    options: { ...confirmOptions, ...clientOptions },
    async run({ values, operands, context }) {
      const [id = ''] = operands
      const session = new Session(values, context)
      await session.confirm(`Remove ${noun} ${id} ${loss}?`, values.yes)
      const path = `${route}/${segment(id)}`
      const answer = await session.rest.call<Cut | undefined>(path, { method: 'DELETE' })
      return session.print(answer, () => `${noun} ${id} removed${cutText(answer)}\n`)
    },
  })
}

/** What a change says that it ended. */
export interface Cut {
  cut?: number
}

/** `, 2 cut`; nothing where nothing was. */
export function cutText(answer: Cut | undefined): string {
  return answer?.cut ? `, ${answer.cut} cut` : ''
}

export function limitOption(nouns: string) {
  return {
    limit: option.integer({
      describe: `most ${nouns} to show`,
      minimum: 1,
      maximum: 1_000_000,
      fallback: 1_000,
    }),
  }
}

/** `--clear FIELD` of a `set`. */
export function clearOption(fields: readonly string[]) {
  return {
    clear: option.texts({
      describe: `forget ${fields.join(', ')} (repeatable)`,
      placeholder: 'FIELD',
      check(text) {
        if (fields.includes(text)) return text
        throw new SshoalError('INVALID_VALUE', `"${text}" is not one of ${fields.join(', ')}`)
      },
    }),
  }
}

/** What a PATCH says of the fields to forget. */
export function cleared(fields: readonly string[]): Record<string, null> {
  return Object.fromEntries(fields.map((field) => [field, null]))
}

/** The list when anything was said of it; REST leaves alone what is missing. */
export function given(list: readonly string[]): string[] | undefined {
  return list.length > 0 ? [...list] : undefined
}
