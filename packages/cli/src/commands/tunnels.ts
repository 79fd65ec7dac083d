// `sshoal tunnels`: who is connected where, page by page up to the limit; `--port` for use within another command.
import { formatHostPort, option, SshoalError } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { Session, type Pages } from '../session.ts'
import { relativeTime } from '../time-text.ts'
import { verb } from '../verb.ts'

interface Forward {
  kind?: 'bound' | 'named'
  bindAddress: string
  bindPort: number
  port: number
  /** Null: no visitor reaches it but through the gate. */
  address: string | null
}

export interface Tunnel {
  device: string
  project?: string
  slave: string
  host: string
  forwards: Forward[]
  remoteAddress: string
  fingerprint: string
  connectedAt: string
  epoch: number
}

export const tunnels = verb({
  name: 'tunnels',
  summary: 'show the live tunnels and where visitors reach them',
  options: {
    device: option.text({ describe: 'only of this device', placeholder: 'ID' }),
    slave: option.text({ describe: 'only on this slave', placeholder: 'ID' }),
    region: option.text({ describe: 'only on slaves of this region', placeholder: 'NAME' }),
    limit: option.integer({
      describe: 'most tunnels to show',
      minimum: 1,
      maximum: 1_000_000,
      fallback: 1_000,
    }),
    port: option.text({
      describe: "print only the port of this device's first bound forward",
      placeholder: 'ID',
    }),
    ...clientOptions,
  },
  examples: [
    'sshoal tunnels',
    'sshoal tunnels --region eu --json',
    'ssh -p $(sshoal tunnels --port door-7) 127.0.0.1',
  ],
  async run({ values, context }) {
    const session = new Session(values, context)
    const query = { device: values.port ?? values.device, slave: values.slave, region: values.region }
    const found = await session.pages<'tunnels', Tunnel>('/cluster/tunnels', 'tunnels', query, values.limit)
    if (values.port !== undefined) {
      context.terminal.out(`${portOf(values.port, found.tunnels)}\n`)
      return 0
    }
    return session.print(found, (answer) => describe(session, answer))
  },
})

function portOf(device: string, tunnels: Tunnel[]): number {
  const bound = tunnels.flatMap(({ forwards }) => forwards).find(({ address }) => address !== null)
  if (bound) return bound.port
  throw new SshoalError(
    'NO_TUNNEL',
    tunnels.length === 0
      ? `${device} has no tunnel now`
      : `${device} has a tunnel, but no forward of it has a port that visitors reach`,
  )
}

function describe(session: Session, { tunnels, next }: Pages<'tunnels', Tunnel>): string {
  if (tunnels.length === 0) return 'no tunnels\n'
  const table = session.table(
    [
      { header: 'device', value: (tunnel) => tunnel.device },
      { header: 'slave', value: (tunnel) => tunnel.slave },
      { header: 'address', value: (tunnel) => tunnel.forwards.map(forwardText).join(', ') },
      { header: 'from', value: (tunnel) => tunnel.remoteAddress },
      { header: 'since', value: (tunnel) => relativeTime(tunnel.connectedAt) },
    ],
    tunnels,
  )
  return next === null ? table : `${table}… and more; see them with --limit\n`
}

/** Where visitors go; for a named forward the name it has at the gate. */
function forwardText(forward: Forward): string {
  return forward.address ?? formatHostPort(forward.bindAddress, forward.port)
}
