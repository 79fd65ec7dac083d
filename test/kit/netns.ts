// Hosts with addresses of their own on one switch, made of network namespaces. Everything, the switch and
// the cables too, lies in namespaces of this network, so the machine's own network stays as it is.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'

import { entrust } from './caretaker.ts'
import { atEnd } from './ending.ts'
import { run, type Ran, type RunOptions } from './run.ts'

export interface NetworkOptions {
  /** Name of each host and its addresses with prefix: `['10.77.0.1/24', 'fd77::1/64']`. */
  hosts: Record<string, string[]>
  /** Names that every host knows, each with its address. */
  names?: Record<string, string>
}

export interface Network {
  /** The namespace of a host, for the `netns` option of `run`, `start` and all that is built on them. */
  netns(host: string): string
  exec(host: string, command: string, args?: string[], options?: RunOptions): Promise<Ran>
  /** Frames of this host are lost from now on, in both directions; the host itself notices nothing. */
  cut(host: string): Promise<void>
  restore(host: string): Promise<void>
  /** Gives a host other addresses, as a new lease or another network would. */
  readdress(host: string, addresses: string[]): Promise<void>
  remove(): Promise<void>
}

let networks = 0

async function ip(...args: string[]): Promise<void> {
  const done = await run('ip', args)
  if (done.status !== 0) throw new Error(`ip ${args.join(' ')}: ${done.stderr.trim()}`)
}

async function addNamespace(name: string): Promise<() => void> {
  await ip('netns', 'add', name)
  const release = entrust(`ip netns pids ${name} | xargs -r kill -KILL; ip netns del ${name}`)
  // No waiting for duplicate addresses, and no addresses that nobody gave.
  const settings = ['all', 'default'].flatMap((all) => [
    `net.ipv6.conf.${all}.accept_dad=0`,
    `net.ipv6.conf.${all}.accept_ra=0`,
  ])
  await run('sysctl', ['-q', '-w', ...settings, 'net.ipv4.ping_group_range=0 0'], { netns: name })
  await ip('-n', name, 'link', 'set', 'lo', 'up')
  return release
}

/** `ip netns exec` lays what lies here over /etc. */
function knowNames(namespace: string, known: Record<string, string>): () => void {
  const folder = `/etc/netns/${namespace}`
  const release = entrust(`rm -rf '${folder}'`)
  mkdirSync(folder, { recursive: true })
  const lines = Object.entries({ localhost: '127.0.0.1', ...known }).map(([name, at]) => `${at} ${name}\n`)
  writeFileSync(`${folder}/hosts`, lines.join(''))
  return () => {
    rmSync(folder, { recursive: true, force: true })
    release()
  }
}

async function removeNamespace(name: string): Promise<void> {
  const inside = await run('ip', ['netns', 'pids', name])
  const pids = inside.stdout.split('\n').filter((pid) => pid !== '')
  if (pids.length > 0) await run('kill', ['-KILL', ...pids])
  await run('ip', ['netns', 'del', name])
}

export async function createNetwork({ hosts, names: known = {} }: NetworkOptions): Promise<Network> {
  if (process.getuid?.() !== 0) throw new Error('network namespaces need root: run the tests as root')
  const prefix = `sshoal-${process.pid}-${++networks}`
  const made: [string, () => void][] = []
  const remove = async (): Promise<void> => {
    for (const [name, release] of made.splice(0)) {
      await removeNamespace(name)
      release()
    }
  }
  atEnd(remove)
  const make = async (name: string): Promise<void> => {
    made.push([name, await addNamespace(name)])
  }

  const netns = (host: string): string => {
    if (!(host in hosts)) throw new Error(`the network has no host ${host}`)
    return `${prefix}-${host}`
  }
  const names = Object.keys(hosts)
  const port = (host: string): string => `port${names.indexOf(host)}`
  const mac = (host: string): string => `02:00:00:00:00:${(names.indexOf(host) + 16).toString(16)}`

  const hub = `${prefix}-switch`
  await make(hub)
  // Without snooping it floods neighbour discovery at once instead of learning who listens.
  await ip('-n', hub, ...'link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0'.split(' '))
  await ip('-n', hub, 'link', 'set', 'br0', 'up')
  for (const host of names) {
    await make(netns(host))
    if (Object.keys(known).length > 0) atEnd(knowNames(netns(host), known))
    const cable = ['type', 'veth', 'peer', 'name', 'eth0', 'address', mac(host), 'netns', netns(host)]
    await ip('-n', hub, 'link', 'add', port(host), ...cable)
    await ip('-n', hub, 'link', 'set', port(host), 'master', 'br0', 'up')
    await ip('-n', netns(host), 'link', 'set', 'eth0', 'up')
    for (const address of hosts[host] ?? []) {
      await ip('-n', netns(host), 'addr', 'add', address, 'dev', 'eth0', ...nodad(address))
    }
  }
  // Neighbours are known for good: behind a router, too, a cut peer is silent and never "no route to host".
  for (const host of names) {
    for (const other of names.filter((name) => name !== host)) {
      for (const address of hosts[other] ?? []) {
        const [bare = ''] = address.split('/')
        const entry = ['neigh', 'replace', bare, 'lladdr', mac(other), 'dev', 'eth0', 'nud', 'permanent']
        await ip('-n', netns(host), ...entry)
      }
    }
  }

  return {
    netns,
    exec: (host, command, args = [], options = {}) => run(command, args, { ...options, netns: netns(host) }),
    // The port stays up, so there is no lost carrier to see; it only belongs to no switch any more.
    cut: (host) => ip('-n', hub, 'link', 'set', port(host), 'nomaster'),
    restore: (host) => ip('-n', hub, 'link', 'set', port(host), 'master', 'br0'),
    async readdress(host, addresses) {
      await ip('-n', netns(host), 'addr', 'flush', 'dev', 'eth0', 'scope', 'global')
      for (const address of addresses) {
        await ip('-n', netns(host), 'addr', 'add', address, 'dev', 'eth0', ...nodad(address))
      }
    },
    remove,
  }
}

function nodad(address: string): string[] {
  return address.includes(':') ? ['nodad'] : []
}
