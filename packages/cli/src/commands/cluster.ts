// `sshoal cluster`: the masters, the slaves and the totals, as the master sees them now.
import { formatHostPort } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { Session } from '../session.ts'
import { shortSpan } from '../time-text.ts'
import { verb } from '../verb.ts'

interface Slave {
  id: string
  publicHost: string | null
  publicPort: number
  region: string | null
  state: string
  tunnels: number
  reserved: number
  capacity: number
  load: number
  version: string
  uptimeSeconds: number
}

interface Cluster {
  masters: { id: string; version: string; uptimeSeconds: number }[]
  slaves: Slave[]
  totals: { slaves: number; tunnels: number; reserved: number }
}

export const cluster = verb({
  name: 'cluster',
  summary: 'show the masters, the slaves and how busy they are',
  options: clientOptions,
  examples: ['sshoal cluster', 'sshoal cluster --json'],
  async run({ values, context }) {
    const session = new Session(values, context)
    return session.print(await session.rest.call<Cluster>('/cluster'), (answer) => describe(session, answer))
  },
})

function describe(session: Session, { masters, slaves, totals }: Cluster): string {
  const masterTable = session.table(
    [
      { header: 'master', value: (master) => master.id },
      { header: 'up', value: (master) => shortSpan(master.uptimeSeconds), right: true },
      { header: 'version', value: (master) => master.version },
    ],
    masters,
  )
  const slaveTable = session.table(
    [
      { header: 'slave', value: (slave) => slave.id },
      { header: 'state', value: (slave) => slave.state },
      { header: 'address', value: (slave) => formatHostPort(slave.publicHost ?? '-', slave.publicPort) },
      { header: 'region', value: (slave) => slave.region },
      { header: 'tunnels', value: (slave) => slave.tunnels, right: true },
      { header: 'reserved', value: (slave) => slave.reserved, right: true },
      { header: 'capacity', value: (slave) => slave.capacity, right: true },
      { header: 'load', value: (slave) => `${Math.round(slave.load * 100)}%`, right: true },
      { header: 'up', value: (slave) => shortSpan(slave.uptimeSeconds), right: true },
      { header: 'version', value: (slave) => slave.version },
    ],
    slaves,
  )
  const total = `slaves ${totals.slaves}, tunnels ${totals.tunnels}, reserved ${totals.reserved}\n`
  return `${masterTable}\n${slaveTable}\n${total}`
}
