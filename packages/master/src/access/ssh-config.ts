// The configuration for a person's own ssh: one block per gate and per target, and the host keys that are pinned. Pure. Every
// value was checked when it was stored, and is checked again here: none of it may end a line, a word or a pattern.
import { DEFAULT_PROJECT, SshoalError } from '@sshoal/shared'

export interface SshConfigGate {
  /** What the configuration calls it: no target's name, for it has dots. */
  alias: string
  host: string
  port: number
  /** `type base64` of all slaves that may answer under its name. */
  hostKeys: readonly string[]
}

export interface SshConfigTarget {
  name: string
  uuid: string
  account?: string | undefined
  /** The alias of its gate. */
  gate: string
  /** Pinned; none: ssh asks at the first connection, as it does for any host. */
  hostKeys: readonly string[]
  /** Those that may be reached as NAME.TARGET; `*`: any. */
  forwards: readonly { name: string; account?: string | undefined }[]
}

export interface SshConfigInput {
  project: string
  login: string
  gates: readonly SshConfigGate[]
  targets: readonly SshConfigTarget[]
}

export interface SshConfig {
  config: string
  knownHosts: string
}

/** Where `sshoal ssh-config --install` puts it; whoever puts it elsewhere writes this line anew. */
const KNOWN_HOSTS = '~/.ssh/sshoal/known_hosts'

/** The name of a gate in the configuration. */
export function gateAlias(gate: string, project: string): string {
  return `${gate}.${project}.gate.sshoal`
}

/** Under which name the host key of a target is known, wherever it is reached. */
export function targetAlias(target: string, project: string): string {
  return `${target}.${project}.sshoal`
}

/** Throws UNSAFE_VALUE, which is a fault of whoever stored it. */
export function writeSshConfig({ project, login, gates, targets }: SshConfigInput): SshConfig {
  word(project)
  // A key may be in several projects; the suffix says which one is meant.
  const gateUser = project === DEFAULT_PROJECT ? word(login) : word(`${login}+${project}`)
  const blocks = [
    ...gates.map((gate) => gateBlock(gate, gateUser)),
    ...targets.flatMap((target) => targetBlocks(target, project)),
  ]
  const knownHosts = [
    ...gates.flatMap(({ alias, hostKeys }) => hostKeys.map((key) => knownHost(alias, key))),
    ...targets.flatMap(({ name, hostKeys }) =>
      hostKeys.map((key) => knownHost(targetAlias(name, project), key)),
    ),
  ]
  const head = `# Made by sshoal for ${word(login)}, project ${project}. Changes are lost when it is made again.\n`
  return { config: [head, ...blocks].join('\n'), knownHosts: knownHosts.map((line) => `${line}\n`).join('') }
}

function gateBlock({ alias, host, port }: SshConfigGate, user: string): string {
  return block(alias, [
    `HostName ${word(host)}`,
    `Port ${wholeNumber(port)}`,
    `User ${user}`,
    `HostKeyAlias ${word(alias)}`,
    'CheckHostIP no',
    `UserKnownHostsFile ${KNOWN_HOSTS}`,
    'StrictHostKeyChecking yes',
    'ForwardAgent no',
  ])
}

function targetBlocks(target: SshConfigTarget, project: string): string[] {
  const { name, uuid, account, gate, hostKeys, forwards } = target
  const by = (user: string | undefined): string[] => [
    ...(user === undefined ? [] : [`User ${word(user)}`]),
    `ProxyJump ${word(gate)}`,
    'ForwardAgent no',
  ]
  const patterns = uuid === name ? word(name) : `${word(name)} ${word(uuid)}`
  const pinned = [`UserKnownHostsFile ${KNOWN_HOSTS}`, 'StrictHostKeyChecking yes']
  const own = block(patterns, [
    `HostName ${word(name)}`,
    `HostKeyAlias ${word(targetAlias(name, project))}`,
    ...(hostKeys.length > 0 ? pinned : []),
    ...by(account),
  ])
  // What is behind a forward of that name may be another machine: it has no host key of the target's.
  const every = forwards.filter((forward) => forward.name === '*')
  const named = every.length > 0 ? every : forwards
  return [
    own,
    ...named.map((forward) =>
      block(`${forward.name === '*' ? '*' : word(forward.name)}.${word(name)}`, by(forward.account)),
    ),
  ]
}

function block(patterns: string, lines: readonly string[]): string {
  return `Host ${patterns}\n${lines.map((line) => `  ${line}\n`).join('')}`
}

function knownHost(alias: string, key: string): string {
  if (!/^[a-z0-9@.-]{1,64} [A-Za-z0-9+/]+={0,2}$/.test(key)) throw unsafe(key)
  return `${word(alias)} ${key}`
}

/** No space, quote, wildcard, token (%), variable ($), comment or line end; nothing that begins like an option. */
function word(text: string): string {
  if (!/^[A-Za-z0-9_:][A-Za-z0-9._:@+-]*$/.test(text)) throw unsafe(text)
  return text
}

function wholeNumber(port: number): string {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw unsafe(String(port))
  return String(port)
}

function unsafe(text: string): SshoalError {
  return new SshoalError(
    'UNSAFE_VALUE',
    `${JSON.stringify(text.slice(0, 80))} must not stand in a configuration`,
  )
}
