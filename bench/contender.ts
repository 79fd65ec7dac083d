// Somebody who takes devices and their forwards: the product, or what people would use instead.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { run } from './process.ts'

export interface ContenderOptions {
  /** A folder of its own. */
  folder: string
  keys: Keys
  sshPort: number
  /** Processor threads that a Go program may use; for ours, workers. */
  threads?: number
  /** Flags of the slave beyond the usual. */
  slaveFlags?: string[]
}

export interface Running {
  /** The processes whose cost counts; for ours the slave's alone, the master's is told beside. */
  pids: number[]
  masterPids?: number[]
  sshPorts: number[]
  /** Resolves when the contender itself knows of so many tunnels; undefined: it has no such view. */
  knows?(tunnels: number): Promise<void>
  /** Longest delay of its event loop since the last call, p99 in ms. */
  loopDelay?(): Promise<number>
  stop(): Promise<void>
}

export interface Contender {
  name: string
  /** Name devices log in with. */
  user: string
  /** It keeps accounts, so that all devices share one key. */
  oneKey: boolean
  /** Logins that it takes at once, where that is few. */
  atOnce?: number
  ciphers: readonly string[]
  /** Forwards that listen on no port. */
  named: boolean
  start(options: ContenderOptions): Promise<Running>
}

export interface Keys {
  hostKey: string
  /** Private key of the device that is a real ssh. */
  deviceKey: string
  /** Its public line, and that of the first simulated device. */
  authorizedKeys: string
}

/** The key that load/devices/main.go derives for its first device. */
const FIRST_DEVICE = 'sshoal bench device 0'

export async function makeKeys(folder: string): Promise<Keys> {
  mkdirSync(folder, { recursive: true })
  const hostKey = join(folder, 'host-key')
  const deviceKey = join(folder, 'device-key')
  for (const file of [hostKey, deviceKey])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'bench', '-f', file])
  const authorizedKeys = join(folder, 'authorized_keys')
  // Read by sshd as the account that logs in.
  writeFileSync(authorizedKeys, `${readFileSync(`${deviceKey}.pub`, 'utf8')}${await firstDeviceLine()}\n`)
  return { hostKey, deviceKey, authorizedKeys }
}

async function firstDeviceLine(): Promise<string> {
  const { createHash, createPrivateKey, createPublicKey } = await import('node:crypto')
  const seed = createHash('sha256').update(FIRST_DEVICE).digest()
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
  const { x = '' } = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({
    format: 'jwk',
  })
  const field = (value: Buffer): Buffer => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(value.length)
    return Buffer.concat([length, value])
  }
  const wire = Buffer.concat([field(Buffer.from('ssh-ed25519')), field(Buffer.from(x, 'base64url'))])
  return `ssh-ed25519 ${wire.toString('base64')} first`
}
