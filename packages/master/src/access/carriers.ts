// Which slave carries a visit, and how the others reach its relay.
import { isLoopback, type Carrier, type Hello } from '@sshoal/shared'

import type { HostTarget } from './target.ts'

/** A slave of the view, as far as visits are concerned. */
export interface GateSlave {
  readonly id: string
  readonly state: 'ready' | 'stale' | 'draining'
  readonly region: string | undefined
  readonly hello: Pick<
    Hello,
    | 'instance'
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

/** For a device: the slave that holds its tunnel. Undefined: it takes no visits from who asks. */
export function carrierOf(slave: GateSlave, slaves: GateSlaves, asking: string): Carrier | undefined {
  if (slave.id === asking) return { slave: slave.id }
  const { relay, hostKeys } = slave.hello
  if (!relay || !isReached(slave, slaves.get(asking))) return undefined
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
    (slave) =>
      slave.state === 'ready' && mayDial(slave) && slave.hello.relay !== undefined && isReached(slave, own),
  )
  // The same one for the same target, so that one connection between the two slaves serves all its visits.
  const chosen = others.sort((a, b) => (a.id < b.id ? -1 : 1))[spread(target.id, others.length)]
  return chosen && carrierOf(chosen, slaves, asking)
}

/** A relay on loopback, as workers have it who were told of none, is one for their own machine. */
function isReached({ hello, seenAddress }: GateSlave, asking: GateSlave | undefined): boolean {
  if (hello.relay?.host === undefined || !isLoopback(hello.relay.host)) return true
  if (!asking) return false
  const seen = [seenAddress, asking.seenAddress]
  if (seen.every(isLoopback)) return true
  // Bridges have the same address on many machines: what a master sees must fit, too.
  const shares = hello.addresses.some((address) => asking.hello.addresses.includes(address))
  const isSeenAlike =
    seenAddress === asking.seenAddress ||
    seen.some(isLoopback) ||
    hello.addresses.includes(asking.seenAddress) ||
    asking.hello.addresses.includes(seenAddress)
  return shares && isSeenAlike
}

function spread(text: string, size: number): number {
  let hash = 0
  for (const character of text) hash = (Math.imul(hash, 31) + (character.codePointAt(0) ?? 0)) >>> 0
  return size === 0 ? 0 : hash % size
}
