// A live tunnel as REST shows it.
import { Type } from 'typebox'

export const TunnelBody = Type.Object({
  device: Type.String(),
  project: Type.String(),
  lease: Type.Optional(Type.String()),
  slave: Type.String(),
  host: Type.String(),
  forwards: Type.Array(
    Type.Object({
      kind: Type.Union([Type.Literal('bound'), Type.Literal('named')]),
      bindAddress: Type.String({ description: 'As the device asked for it.' }),
      bindPort: Type.Integer({ description: 'As the device asked for it; 0: any.' }),
      port: Type.Integer(),
      address: Type.Union([Type.String(), Type.Null()], {
        description: '`host:port` for visitors; null: reachable through the gate only.',
      }),
    }),
  ),
  remoteAddress: Type.String(),
  fingerprint: Type.String(),
  connectedAt: Type.String(),
  epoch: Type.Integer({ description: 'Rises with every tunnel of the device; the order of its events.' }),
  details: Type.Record(Type.String(), Type.Unknown(), { description: 'What the hook added.' }),
})
