// A user as REST shows them, and the shape in which one is handed in.
import { Type, type Static } from 'typebox'

import type { User, UserKey } from '../access/user.ts'
import { KeyBody } from '../registry/device-body.ts'
import { keyLine } from '../registry/device.ts'
import { timeText } from '../time-text.ts'
import { nullable } from './paging.ts'

const strict = { additionalProperties: false }

export const UserKeyBody = Type.Object({
  fingerprint: Type.String(),
  key: Type.String({ description: 'The OpenSSH line.' }),
  label: nullable(Type.String()),
  addedAt: Type.String(),
})

export const UserBody = Type.Object({
  id: Type.String({ description: 'A UUID; never another’s.' }),
  project: Type.String(),
  email: Type.String(),
  login: Type.String(),
  name: nullable(Type.String()),
  keys: Type.Array(UserKeyBody),
  createdAt: Type.String(),
})
export type UserBody = Static<typeof UserBody>

const settings = {
  email: Type.String({ maxLength: 254, description: 'Unique in the project.' }),
  login: Type.String({
    maxLength: 63,
    description: 'Unique in the project; default: what stands before the @.',
  }),
  name: Type.String({ maxLength: 255 }),
}

export const NewUserBody = Type.Object(
  {
    email: settings.email,
    login: Type.Optional(settings.login),
    name: Type.Optional(settings.name),
    keys: Type.Optional(
      Type.Array(Type.Union([Type.String({ maxLength: 16_384 }), KeyBody]), { maxItems: 64 }),
    ),
    pools: Type.Optional(
      Type.Array(Type.String({ maxLength: 63 }), { maxItems: 1_000, description: 'That they may reach.' }),
    ),
  },
  strict,
)

export const UserChangeBody = Type.Object(
  {
    email: Type.Optional(settings.email),
    login: Type.Optional(settings.login),
    name: Type.Optional(nullable(settings.name)),
  },
  strict,
)

export function viewUser({ id, project, email, login, name, keys, createdAt }: User): UserBody {
  return {
    id,
    project,
    email,
    login,
    name: name ?? null,
    keys: keys.map(viewUserKey),
    createdAt: timeText(createdAt),
  }
}

export function viewUserKey(key: UserKey): Static<typeof UserKeyBody> {
  const { fingerprint, label, addedAt } = key
  return { fingerprint, key: keyLine(key), label: label ?? null, addedAt: timeText(addedAt) }
}
