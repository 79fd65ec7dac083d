// What a session shows instead of a shell: to a user what they may reach, to a device its forwards, to a key of both both.
import type { Socket } from 'node:net'

import { plainAddress, type DeviceRole, type UserRole } from '@sshoal/shared'

import { reachText } from './gate/reach-text.ts'
import { greeting } from './greeting.ts'
import type { SlaveParts } from './slave-parts.ts'

export async function sessionText(
  { settings, tunnels, id, gate }: SlaveParts,
  who: { device: DeviceRole | undefined; user: UserRole | undefined; fingerprint: string },
  socket: Socket,
): Promise<string> {
  const { device, user, fingerprint } = who
  const texts: string[] = []
  if (user) {
    const { localAddress = 'GATE', localPort = 22 } = socket
    const at = {
      host: settings.publicHost ?? plainAddress(localAddress),
      port: settings.publicPort ?? localPort,
    }
    texts.push(reachText({ slave: id, user, fingerprint, gate: at, reach: await gate.reach(user) }))
  }
  if (device || !user)
    texts.push(
      greeting({
        slave: id,
        fingerprint,
        device,
        tunnel: device && tunnels.of(device),
        forwardHost: settings.forwardHost ?? settings.forwardAddress,
      }),
    )
  return texts.join('\n')
}
