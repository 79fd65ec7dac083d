// Which slave carries a visit, and how the others reach its relay.
import type { Carrier, Hello } from '@sshoal/shared'

import type { HostTarget } from './target.ts'

/** A slave of the view, as far as visits are concerned. */
export interface GateSlave {
  readonly id: string
  readonly state: 'ready' | 'stale' | 'draining'
  readonly region: string | undefined
  readonly hello: Pick<
    Hello,
    | 'relay'
    | 'dials'
    | 'hostKeys'
    | 'publicHost'
    | 'publicPort'
    | 'sshPorts'
    | 'forwardHost'
    | 'forwardPorts'
    | 'statusPort'
    | 'addresses'
  >
  /** As the master sees it. */
  readonly seenAddress: string
  /** Null: on loopback alone. */
  readonly reachableHost: string | null
}

export interface GateSlaves {
  get(id: string): GateSlave | undefined
  /** All of the view, those of other masters too. */
  all(): Iterable<GateSlave>
}

/** For a device: the slave that holds its tunnel. Undefined: it takes no visits from others. */
export function carrierOf(slave: GateSlave, asking: string): Carrier | undefined {
  if (slave.id === asking) return { slave: slave.id }
  const { relay, hostKeys } = slave.hello
  if (!relay) return undefined
  return {
    slave: slave.id,
    relay: {
      host: relay.host ?? slave.seenAddress,
      port: relay.port,
      hostKeys: hostKeys.map(({ publicKey }) => publicKey),
    },
  }
}

/** For a host: who asks, where it is of the host's region and dials; else one that does and takes visits from others. */
export function carrierFor(target: HostTarget, slaves: GateSlaves, asking: string): Carrier | undefined {
  const mayDial = ({ hello, region }: GateSlave): boolean =>
    hello.dials === true && (target.region === undefined || target.region === region)
  const own = slaves.get(asking)
  if (own && mayDial(own)) return { slave: own.id }
  const others = [...slaves.all()].filter(
    (slave) => slave.state === 'ready' && mayDial(slave) && slave.hello.relay !== undefined,
  )
  // The same one for the same target, so that one connection between the two slaves serves all its visits.
  const chosen = others.sort((a, b) => (a.id < b.id ? -1 : 1))[spread(target.id, others.length)]
  return chosen && carrierOf(chosen, asking)
}

function spread(text: string, size: number): number {
  let hash = 0
  for (const character of text) hash = (Math.imul(hash, 31) + (character.codePointAt(0) ?? 0)) >>> 0
  return size === 0 ? 0 : hash % size
}
