// A device: a stock client that holds a tunnel open. The kit knows only what the client prints.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { makeFolder } from './folder.ts'
import type { Key } from './key.ts'
import { start, withWords, type Started } from './process.ts'

export interface DeviceOptions {
  /** Where it connects: a slave, or any SSH server. */
  slave: { host: string; port: number }
  /** For dropbear a key of `makeDropbearKey`. */
  key: Key
  /** Values of `-R`; `0:localhost:22` unless told. */
  forwards?: string[]
  client?: 'openssh' | 'dropbear'
  username?: string
  /** Lines of known_hosts to insist on; without them any host key will do. */
  knownHosts?: string[]
  /** More arguments, before the host: `['-o', 'ServerAliveInterval=1']`. */
  options?: string[]
  /** Run this instead of only holding the forwards (no `-N`); an empty one asks for a shell. */
  command?: string[]
  netns?: string
}

export interface Device extends Started {
  /** The port the server chose for the n-th (from 0) forward that asked for port 0. */
  port(n?: number): Promise<number>
}

// Both clients print the same words.
const ALLOCATED = /Allocated port (\d+) for remote forward to /g

function openssh(device: DeviceOptions, folder: string): string[] {
  const known = join(folder, 'known_hosts')
  writeFileSync(known, (device.knownHosts ?? []).map((line) => `${line}\n`).join(''))
  const trust =
    device.knownHosts === undefined
      ? ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null']
      : ['StrictHostKeyChecking=yes', `UserKnownHostsFile=${known}`]
  const settings = [
    'BatchMode=yes',
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    'GlobalKnownHostsFile=/dev/null',
    'ExitOnForwardFailure=yes',
    ...trust,
  ]
  // The client takes the first value of a setting, so what the test asks for comes first.
  return [
    '-F',
    'none',
    '-i',
    device.key.path,
    '-p',
    String(device.slave.port),
    ...(device.options ?? []),
    ...settings.flatMap((setting) => ['-o', setting]),
  ]
}

function dropbear(device: DeviceOptions, folder: string): string[] {
  mkdirSync(join(folder, '.ssh'), { mode: 0o700 })
  const known = device.knownHosts
  if (known !== undefined) writeFileSync(join(folder, '.ssh/known_hosts'), `${known.join('\n')}\n`)
  // One -y would accept and remember any key; two do not even look.
  const trust = known === undefined ? ['-y', '-y'] : []
  const settings = ['-o', 'ExitOnForwardFailure=yes', '-o', 'BatchMode=yes']
  return [
    '-i',
    device.key.path,
    '-p',
    String(device.slave.port),
    ...trust,
    ...settings,
    ...(device.options ?? []),
  ]
}

/** Starts the client and answers at once; `port()` or `waitForOutput()` wait for the server. */
export function openDevice(device: DeviceOptions): Device {
  const { slave, forwards = ['0:localhost:22'], client = 'openssh', username = 'device' } = device
  const folder = makeFolder()
  const args = [
    ...(client === 'openssh' ? openssh(device, folder) : dropbear(device, folder)),
    ...(device.command === undefined ? ['-N'] : []),
    ...forwards.flatMap((forward) => ['-R', forward]),
    `${username}@${slave.host}`,
    ...(device.command ?? []),
  ]
  const started = start(client === 'openssh' ? 'ssh' : 'dbclient', args, {
    // dropbear finds known_hosts through HOME alone.
    env: { SSH_AUTH_SOCK: undefined, HOME: folder, LC_ALL: 'C' },
    netns: device.netns,
  })
  const port = async (n = 0): Promise<number> => {
    await started.waitForOutput(new RegExp(`(?:${ALLOCATED.source}[^]*){${n + 1}}`))
    return Number([...started.output.matchAll(ALLOCATED)][n]?.[1])
  }
  return withWords(started, { port })
}
