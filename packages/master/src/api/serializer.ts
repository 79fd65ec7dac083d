// Fastify's serializers, made when their route answers for the first time: a master has hundreds, uses a few, and made them
// all before it listened, which was almost half of its start.
import {
  SerializerSelector,
  type Serializer,
  type SerializerFactory,
} from '@fastify/fast-json-stringify-compiler'

const build = SerializerSelector()

export const serializersOnUse: SerializerFactory = (externalSchemas, options) => {
  const compile = build(externalSchemas, options)
  return (route) => {
    let serialize: Serializer | undefined
    return (body) => (serialize ??= compile(route))(body)
  }
}
