// The JSON shape in which devices are handed in, by REST and by import lines.
// What a field means is checked where devices are made; here only that it is there and of its type.
import { Type, type Static } from 'typebox'

const strict = { additionalProperties: false }

export const KeyBody = Type.Object(
  {
    key: Type.String({ maxLength: 16_384, description: 'An OpenSSH public key line.' }),
    label: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
  },
  strict,
)
export type KeyBody = Static<typeof KeyBody>

const settings = {
  name: Type.String({ maxLength: 255 }),
  mac: Type.String({ maxLength: 60, description: 'In any common spelling; a unique alias of the id.' }),
  region: Type.String({ maxLength: 63 }),
  ports: Type.Array(Type.Integer(), {
    description: 'The i-th is the i-th bound forward’s, wherever it connects.',
  }),
  keepalive: Type.Union([Type.String({ maxLength: 30 }), Type.Integer()], {
    description: 'A duration such as 15s, or milliseconds; 0: none.',
  }),
}

export const NewDeviceBody = Type.Object(
  {
    id: Type.String({ minLength: 1, maxLength: 128 }),
    keys: Type.Optional(Type.Array(Type.Union([Type.String({ maxLength: 16_384 }), KeyBody]))),
    name: Type.Optional(settings.name),
    mac: Type.Optional(settings.mac),
    region: Type.Optional(settings.region),
    ports: Type.Optional(settings.ports),
    keepalive: Type.Optional(settings.keepalive),
  },
  strict,
)
export type NewDeviceBody = Static<typeof NewDeviceBody>

export const DeviceChangeBody = Type.Object(
  {
    name: Type.Optional(Type.Union([settings.name, Type.Null()])),
    mac: Type.Optional(Type.Union([settings.mac, Type.Null()])),
    region: Type.Optional(Type.Union([settings.region, Type.Null()])),
    ports: Type.Optional(Type.Union([settings.ports, Type.Null()])),
    keepalive: Type.Optional(Type.Union([settings.keepalive, Type.Null()])),
  },
  strict,
)
export type DeviceChangeBody = Static<typeof DeviceChangeBody>
