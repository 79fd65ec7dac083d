// Devices by the hundred, and devices that misbehave: ssh2's client, in the test's own process.

import { readFileSync } from 'node:fs'

import { Client, type ConnectConfig } from 'ssh2'

import { atEnd } from './ending.ts'
import type { Key } from './key.ts'

export interface ClientOptions {
  slave: { host: string; port: number }
  key: Key
  username?: string
  config?: ConnectConfig
}

export interface HeldTunnel {
  client: Client
  port: number
  /** Its connection ended, for whatever reason. */
  readonly ended: boolean
  close(): void
}

/** Logs in; rejects when it is refused. */
export function connectClient({ slave, key, username = 'device', config }: ClientOptions): Promise<Client> {
  const client = new Client()
  atEnd(() => client.destroy())
  return new Promise((resolve, reject) => {
    client.once('ready', () => {
      // An end that the test wants is no error.
      client.on('error', () => {})
      resolve(client)
    })
    client.once('error', reject)
    client.once('close', () => {
      reject(new Error('the connection ended before the login'))
    })
    const privateKey = readFileSync(key.path)
    client.connect({ ...slave, username, privateKey, readyTimeout: 20_000, ...config })
  })
}

/** `-R 0:`, with an echo behind it. */
export async function holdTunnel(options: ClientOptions): Promise<HeldTunnel> {
  const client = await connectClient(options)
  let ended = false
  client.once('close', () => {
    ended = true
  })
  client.on('tcp connection', (_details, accept) => {
    const channel = accept()
    channel.on('error', () => {})
    channel.pipe(channel)
  })
  const port = await new Promise<number>((resolve, reject) => {
    client.forwardIn('localhost', 0, (error, given) => {
      if (error) reject(error)
      else resolve(given)
    })
    client.once('close', () => {
      reject(new Error('the connection ended before the forward'))
    })
  })
  return {
    client,
    port,
    get ended() {
      return ended
    },
    close: () => client.destroy(),
  }
}
