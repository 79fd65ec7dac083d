// The text that an SSH session shows instead of a shell: who you are, and which forwards stand.
import { DEFAULT_PROJECT, formatHostPort, type DeviceRole } from '@sshoal/shared'

import type { LiveTunnel } from './tunnel.ts'

export interface GreetingFacts {
  slave: string
  fingerprint: string
  device: DeviceRole | undefined
  tunnel: LiveTunnel | undefined
  forwardHost: string
}

export function greeting(facts: GreetingFacts): string {
  const { slave, fingerprint, device, tunnel, forwardHost } = facts
  const lines = [`sshoal: slave ${slave}. There is no shell here.`]
  if (!device) return [...lines, `You are ${fingerprint}.`].join('\n')
  lines.push(
    `You are device ${device.device}${device.project === DEFAULT_PROJECT ? '' : ` of project ${device.project}`} (${fingerprint}).`,
  )
  if (!tunnel) {
    lines.push('No tunnel of yours is up on this slave. Open one with: ssh -N -R 0:localhost:22 ...')
    return lines.join('\n')
  }
  lines.push(
    `Your tunnel is up since ${new Date(tunnel.connectedAt).toISOString()} from ${tunnel.facts.remoteAddress}:`,
  )
  for (const { kind, bindAddress, bindPort, port } of tunnel.shownForwards()) {
    const asked = `${bindAddress === '' ? '*' : bindAddress}:${bindPort}`
    lines.push(
      kind === 'bound'
        ? `  ${asked} -> ${formatHostPort(forwardHost, port)}`
        : `  ${asked} -> named, through the gate (number ${port})`,
    )
  }
  return lines.join('\n')
}
