// Collects what a person's ssh configuration says: what they may reach, by which gate, with which host keys.
import { SshoalError, type HostPort } from '@sshoal/shared'

import type { GateSlave, GateSlaves } from './carriers.ts'
import type { Directory } from './directory.ts'
import { DEFAULT_GATE, GATE, serves, type Gate } from './gate.ts'
import { whoseAccount, type Reach, type Reachable } from './reach.ts'
import { gateAlias, writeSshConfig, type SshConfig, type SshConfigGate } from './ssh-config.ts'
import type { User } from './user.ts'

export interface SshConfigAnswer extends SshConfig {
  /** The one to enter by; `name` is what the config calls it. */
  gate: { name: string; host: string; port: number }
}

export interface SshConfigDeskDeps {
  directory: Directory
  reach: Reach
  slaves: GateSlaves
  /** The public name of the default gate; without a port that of the slaves counts. */
  gateHost: { host: string; port: number | undefined } | undefined
}

/** Beyond, a file of blocks is no way to find a machine. */
const MAX_TARGETS = 50_000

export class SshConfigDesk {
  readonly #deps: SshConfigDeskDeps

  constructor(deps: SshConfigDeskDeps) {
    this.#deps = deps
  }

  /**
   * `gateName`: only what is reached by that gate. `askedHost`: under which name the asker reached this master, for slaves
   * that are known by a loopback address alone. Throws UNKNOWN_GATE, NO_SLAVE, TOO_MANY_TARGETS.
   */
  async of(
    user: User,
    { gateName, askedHost }: { gateName?: string; askedHost: string },
  ): Promise<SshConfigAnswer> {
    const { directory, reach } = this.#deps
    const { project, login } = user
    const { all } = await reach.all(project, user.id)
    if (all.length > MAX_TARGETS)
      throw new SshoalError(
        'TOO_MANY_TARGETS',
        `${all.length} targets are more than a configuration is good for`,
      )
    const records = new Map(
      (await directory.all<Gate>(GATE, project)).map(({ value }) => [value.name, value]),
    )
    const asked = gateName === undefined ? undefined : (await directory.gate(project, gateName)).value
    const entry = asked ? this.#gate(asked) : this.#defaultGate(project, askedHost)
    const used = new Map([[entry.alias, entry]])
    const targets = all.flatMap((one) => {
      const gate = gateFor(one, asked, records)
      if (gate === undefined) return []
      const place = gate === 'entry' ? entry : this.#gate(gate)
      used.set(place.alias, place)
      return [shown(one, place.alias)]
    })
    return {
      ...writeSshConfig({ project, login, gates: [...used.values()], targets }),
      gate: { name: entry.alias, host: entry.host, port: entry.port },
    }
  }

  #gate(gate: Gate): SshConfigGate {
    const slaves = [...this.#deps.slaves.all()].filter(({ region }) => serves(gate, region))
    const { host, port } = gate
    return { alias: gateAlias(gate.name, gate.project), host, port, hostKeys: hostKeysOf(slaves) }
  }

  #defaultGate(project: string, askedHost: string): SshConfigGate {
    const slaves = [...this.#deps.slaves.all()].sort((a, b) => (a.id < b.id ? -1 : 1))
    const first = slaves.find(({ state }) => state === 'ready') ?? slaves[0]
    const place = this.#place(first, askedHost)
    if (!place)
      throw new SshoalError(
        'NO_SLAVE',
        'no slave lets anybody through at the moment; --gate-host names the gate',
      )
    return { alias: gateAlias(DEFAULT_GATE, project), ...place, hostKeys: hostKeysOf(slaves) }
  }

  #place(slave: GateSlave | undefined, askedHost: string): HostPort | undefined {
    const { gateHost } = this.#deps
    const port = gateHost?.port ?? slave?.hello.publicPort
    if (gateHost) return { host: gateHost.host, port: port ?? 22 }
    return slave && { host: slave.reachableHost ?? askedHost, port: slave.hello.publicPort }
  }
}

/** `entry`: any gate is as good as the one by which one enters. Undefined: not by this one. */
function gateFor(
  { target }: Reachable,
  asked: Gate | undefined,
  records: ReadonlyMap<string, Gate>,
): Gate | 'entry' | undefined {
  if (target.gates.length === 0) return 'entry'
  const own = target.gates.flatMap((name) => records.get(name) ?? [])
  if (!asked) return own[0]
  // The slaves of another gate of the same region let through as well.
  return own.some((gate) => serves(gate, asked.region)) ? 'entry' : undefined
}

function shown({ target, grants }: Reachable, gate: string) {
  const forwards = new Set(grants.flatMap(({ forwards }) => forwards).filter((text) => !/^\d+$/.test(text)))
  return {
    name: target.name,
    uuid: target.uuid,
    account: grants[0]?.account,
    gate,
    hostKeys: target.hostKeys,
    forwards:
      target.kind === 'host'
        ? []
        : [...forwards]
            .sort()
            .map((forward) => ({ name: forward, account: whoseAccount(grants, forward)?.account })),
  }
}

function hostKeysOf(slaves: readonly GateSlave[]): string[] {
  const keys = slaves.flatMap(({ hello }) =>
    hello.hostKeys.map(({ algorithm, publicKey }) => `${algorithm} ${publicKey}`),
  )
  return [...new Set(keys)].sort()
}
