// A slave in a process of its own, with its own ports and its own host key.

import { join } from 'node:path'

import { makeFolder } from './folder.ts'
import type { Master } from './master.ts'
import { takePorts, type PortRange } from './port.ts'
import { slaveReady, startSshoal, statusReady, type Sshoal } from './sshoal.ts'

export interface SlaveOptions {
  master: Pick<Master, 'url' | 'slaveTokenFile'>
  id: string
  /** `127.0.0.1:0` unless told. */
  sshListen?: string
  /** Fifty that no other test uses, unless told. */
  forwardPorts?: PortRange
  flags?: string[]
  env?: Record<string, string>
  netns?: string
  /** Where it keeps its host key: give the same again to start the same slave again. */
  folder?: string
}

export interface Slave {
  id: string
  host: string
  port: number
  statusUrl: string
  forwardPorts: PortRange
  folder: string
  process: Sshoal
}

export async function startSlave(options: SlaveOptions): Promise<Slave> {
  const { master, id, sshListen = '127.0.0.1:0', flags = [], env, netns, folder = makeFolder() } = options
  const forwardPorts = options.forwardPorts ?? (await takePorts())
  const settings = {
    '--master': master.url,
    '--token-file': master.slaveTokenFile,
    '--ssh-listen': sshListen,
    '--status-listen': '127.0.0.1:0',
    '--id': id,
    '--host-key': join(folder, 'host-key'),
    '--forward-ports': `${forwardPorts.first}-${forwardPorts.last}`,
  }
  // A flag of the test's replaces the one from here.
  const given = Object.entries(settings).filter(([name]) => !flags.includes(name))
  const process = startSshoal(['slave', ...given.flat(), ...flags], { cwd: folder, env, netns })
  const { port } = await slaveReady(process)
  const statusUrl = await statusReady(process)
  const host = sshListen.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
  return { id, host, port, statusUrl, forwardPorts, folder, process }
}
