// The host keys of the slaves on this machine, as a known_hosts file in the data directory: who reads it need not
// believe the first key that answers.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { SshoalError, type Log } from '@sshoal/shared'

import { RestClient } from './rest-client.ts'
import type { RunningMaster } from './roles.ts'

/** How long a slave of this machine may take to be known to its master, in ms. */
const DEADLINE_MS = 10_000
const RETRY_MS = 50

/** The addresses by which a device on this machine calls a slave. Without a port they hold for every slave's. */
const LOOPBACK = '127.0.0.1,::1,localhost'

export function knownHostsFile(dataDir: string): string {
  return join(dataDir, 'known_hosts')
}

/** Written at every start, since host keys may have changed. A failure is logged: the cluster works without the file. */
export async function writeKnownHosts(master: RunningMaster, log: Log): Promise<void> {
  try {
    const lines = (await fetchHostKeys(master)).map((key) => `${LOOPBACK} ${key}\n`)
    await writeFile(knownHostsFile(master.dataDir), lines.join(''))
  } catch (error) {
    log.warn({ err: error }, 'known_hosts was not written')
  }
}

/** `type base64` of each, from the slot that the master gives; waits until a slave is ready. */
async function fetchHostKeys(master: RunningMaster): Promise<string[]> {
  const { linkUrl, dataDir } = master
  const rest = new RestClient({ url: linkUrl, token: undefined, data: dataDir, project: undefined })
  const end = Date.now() + DEADLINE_MS
  for (;;) {
    try {
      return (await rest.call<{ hostKeys: string[] }>('/connect')).hostKeys
    } catch (error) {
      if (Date.now() > end || !(error instanceof SshoalError) || error.code !== 'NO_SLAVE') throw error
    }
    await sleep(RETRY_MS)
  }
}
