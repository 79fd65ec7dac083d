// How long lists are asked for and answered: a page at a time, `next` of one is the `cursor` of the one behind.
import { Type, type TSchema } from 'typebox'

export const PageQuery = {
  cursor: Type.Optional(Type.String({ maxLength: 2_048, description: '`next` of the page before.' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })),
}

export const DEFAULT_LIMIT = 100

export const Next = Type.Union([Type.String(), Type.Null()], { description: 'Null on the last page.' })

export function nullable<T extends TSchema>(schema: T) {
  return Type.Union([schema, Type.Null()])
}
