// A target as REST shows it, and the shape in which a host is handed in.
import { Type, type Static } from 'typebox'

import type { TargetTraits } from '../access/target-traits.ts'
import type { Target } from '../access/target.ts'
import { timeText } from '../time-text.ts'
import { nullable } from './paging.ts'

const strict = { additionalProperties: false }

export const TargetBody = Type.Object({
  name: Type.String(),
  uuid: Type.String({ description: 'A name too.' }),
  project: Type.String(),
  kind: Type.Union([Type.Literal('device'), Type.Literal('host')]),
  device: nullable(Type.String()),
  address: nullable(Type.String()),
  port: nullable(Type.Integer()),
  region: nullable(
    Type.String({ description: 'Of a device: its record’s, else that of the slave where it is.' }),
  ),
  hostKeys: Type.Array(Type.String({ description: '`type base64`, pinned.' })),
  gates: Type.Array(Type.String(), { description: 'None: every slave lets through.' }),
  online: Type.Boolean({ description: 'A host is there as far as anybody knows.' }),
  seenAt: nullable(Type.String()),
  createdAt: Type.String(),
})
export type TargetBody = Static<typeof TargetBody>

const HostKeys = Type.Array(Type.String({ maxLength: 16_384, description: 'An OpenSSH public key line.' }), {
  maxItems: 8,
})
const Address = Type.String({ maxLength: 253, description: 'A host name or an IP address; slaves dial it.' })
const Port = Type.Integer({ minimum: 1, maximum: 65_535 })
const Region = Type.String({ maxLength: 63 })

export const NewTargetBody = Type.Object(
  {
    name: Type.String({ maxLength: 63 }),
    address: Address,
    port: Type.Optional(Port),
    region: Type.Optional(Region),
    hostKeys: Type.Optional(HostKeys),
  },
  strict,
)

export const TargetChangeBody = Type.Object(
  {
    address: Type.Optional(Address),
    port: Type.Optional(Port),
    region: Type.Optional(nullable(Region)),
    hostKeys: Type.Optional(HostKeys),
  },
  strict,
)

export async function viewTarget(target: Target, traits: TargetTraits): Promise<TargetBody> {
  const [{ online, seenAt }, { region }] = await Promise.all([traits.presence(target), traits.of(target)])
  const isHost = target.kind === 'host'
  return {
    name: target.name,
    uuid: target.uuid,
    project: target.project,
    kind: target.kind,
    device: isHost ? null : target.device,
    address: isHost ? target.address : null,
    port: isHost ? target.port : null,
    region: region ?? null,
    hostKeys: target.hostKeys,
    gates: target.gates,
    online,
    seenAt: seenAt === undefined ? null : timeText(seenAt),
    createdAt: timeText(target.createdAt),
  }
}
