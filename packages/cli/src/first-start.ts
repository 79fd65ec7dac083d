// What `sshoal up` tells the person who started it: where it is, where the tokens lie, and at the first start three
// lines that make, show and use the first tunnel, to be copied as they stand.
import { connect } from 'node:net'
import { join, relative } from 'node:path'

import { formatHostPort } from '@sshoal/shared'

import { knownHostsFile } from './known-hosts.ts'
import { shellWord, type Program } from './program.ts'
import type { ReadySlave, RunningMaster } from './roles.ts'

export interface Start {
  program: Program
  cwd: string
  master: Pick<RunningMaster, 'url' | 'dataDir' | 'adminTokenFile' | 'slaveTokenFile'>
  slaves: ReadySlave[]
}

/** The device's name in the printed lines. */
const FIRST = 'first-device'
/** What the printed lines reach through the tunnel. */
const SERVICE = { host: 'localhost', port: 22 }

export function laterStartText(start: Start): string {
  const { spelling } = start.program
  return `${placesText(start)}\nSee it with \`${spelling} cluster${clientFlags(start)}\`, add devices with \`${spelling} device add --help\`.\n\n`
}

export async function firstStartText(start: Start): Promise<string> {
  const [make, show, use] = firstLines(start)
  const served = await answers(SERVICE)
  const note = served
    ? ''
    : `     Nothing answers on port ${SERVICE.port} of this machine now: put a port where something does in place of the ${SERVICE.port} in line 1.\n`
  return `${placesText(start)}
The first tunnel in three lines; copy each into a terminal of its own, in ${start.cwd}:

  1. Make it: a key, a device with that key, and the device's tunnel, which stays open until Ctrl-C.

${make}

  2. Show it.

${show}

  3. Use it: log in to this machine through the tunnel.
${note}
${use}

`
}

/** Make, show, use. */
export function firstLines(start: Start): [make: string, show: string, use: string] {
  const { spelling } = start.program
  const flags = clientFlags(start)
  const key = shellWord(fromHere(start, join(start.master.dataDir, FIRST)))
  const known = shellWord(fromHere(start, knownHostsFile(start.master.dataDir)))
  const port = start.slaves[0]?.sshPorts[0] ?? 22
  // IdentitiesOnly: an agent's other keys would be tried first, and refused. ExitOnForwardFailure is what makes a tunnel honest.
  const ssh = `ssh -N -R 0:${SERVICE.host}:${SERVICE.port} -p ${port} -i ${key} -o IdentitiesOnly=yes -o UserKnownHostsFile=${known} ${FIRST}@127.0.0.1`
  return [
    `${spelling} device add ${FIRST} --new-key ${key}${flags} && ${ssh}`,
    `${spelling} tunnels${flags}`,
    `ssh -o StrictHostKeyChecking=accept-new -p $(${spelling} tunnels --port ${FIRST}${flags}) 127.0.0.1`,
  ]
}

function placesText({ master, slaves }: Start): string {
  const ports = slaves.flatMap(({ host, sshPorts }) => sshPorts.map((port) => formatHostPort(host, port)))
  return `
sshoal is up: REST at ${master.url}, SSH at ${ports.join(', ')}

  admin token  ${master.adminTokenFile}  (verbs read it from there; programs send it as a Bearer token)
  slave token  ${master.slaveTokenFile}  (for slaves on other machines)
`
}

/** What verbs must be told, where it is not their default. */
function clientFlags({ cwd, master }: Start): string {
  const url = master.url === 'http://127.0.0.1:8080' ? '' : ` --url ${shellWord(master.url)}`
  const data = master.dataDir === join(cwd, 'data') ? '' : ` --data ${shellWord(master.dataDir)}`
  return url + data
}

/** Short where the file is below this folder, absolute elsewhere. */
function fromHere({ cwd }: Start, path: string): string {
  const local = relative(cwd, path)
  return local.startsWith('..') ? path : local
}

/** True where something accepts a connection within 300 ms. */
async function answers(at: { host: string; port: number }): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect({ ...at, timeout: 300 })
    const end = (answer: boolean) => (): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', end(true)).once('timeout', end(false)).once('error', end(false))
  })
}
