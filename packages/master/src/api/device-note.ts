// What the audit says of a change of a device that was asked for by REST: written in one step with the change.
import type { FastifyRequest } from 'fastify'

import type { Ledger } from '../access/ledger.ts'
import { keyLine, type Device } from '../registry/device.ts'
import type { DeviceNote } from '../registry/registry.ts'
import { actorOf } from './access.ts'

export function deviceNote(
  ledger: Pick<Ledger, 'line'>,
  request: FastifyRequest,
  project: string,
  type: string,
): DeviceNote {
  return ({ id, before, after }) =>
    ledger.line({
      project,
      type,
      by: actorOf(request),
      device: id,
      ...(before ? { before: shown(before) } : {}),
      ...(after ? { after: shown(after) } : {}),
    })
}

function shown({ project: _project, createdAt: _createdAt, source: _source, keys, ...rest }: Device): object {
  return { ...rest, keys: keys.map(keyLine) }
}
