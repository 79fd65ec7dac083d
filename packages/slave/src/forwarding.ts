// How a `tcpip-forward` becomes a forward: check, admit, replace the older self, listen, announce. In this order, so that
// a request that must fail fails before anything of the incumbent is touched.
import { errorText, holderKey, type Holder } from '@sshoal/shared'

import type { ClientConnection } from './client-connection.ts'
import { BoundForward, forwardName, isBound, NamedForward, type LiveForward } from './forward.ts'
import { leaseRefusal } from './leases.ts'
import type { Refusal } from './refusal.ts'
import type { ForwardRequest } from './ssh2/index.ts'
import { LiveTunnel } from './tunnel.ts'
import { Visits } from './visits.ts'

export type Opened = { outcome: 'opened'; port: number } | { outcome: 'refused'; refusal: Refusal }

/** Another process took the port between our choice and listen(2): how many other ports are tried. */
const LISTEN_TRIES = 16
/** How long a forward waits for the first welcome, which says which ports are whose. */
const WELCOME_DEADLINE_MS = 5_000

export async function openForward(connection: ClientConnection, request: ForwardRequest): Promise<Opened> {
  const { parts, device } = connection
  if (!device) return refused('NOT_A_DEVICE', 'this key may not hold a tunnel')
  if (connection.tunnel?.ended !== undefined)
    return refused('TAKEN_OVER', 'this connection was replaced by a newer one')
  if (!(await parts.welcomed(WELCOME_DEADLINE_MS)))
    return refused('NOT_READY', 'this slave has not met its master yet; try again later')
  const holder: Holder = {
    project: device.project,
    device: device.device,
    ...(device.lease === undefined ? {} : { lease: device.lease }),
  }
  const bound = isBound(request, (port) => parts.ports.contains(port))
  const problem = check(connection, holder, request, bound)
  if (problem) return { outcome: 'refused', refusal: problem }

  let { tunnel } = connection
  const isFirst = tunnel === undefined
  if (!tunnel) {
    const admitted = await admit(connection, holder)
    if (admitted.outcome === 'refused') return admitted
    tunnel = admitted.tunnel
  }
  const forward = bound ? await listen(connection, tunnel, holder, request) : nameIt(tunnel, request)
  if ('code' in forward) return { outcome: 'refused', refusal: forward }
  if (leaseIsOver(connection)) {
    forward.close()
    return refused('LEASE_EXPIRED', 'the time of this lease is over')
  }
  if (connection.ssh.socket.destroyed || tunnel.ended !== undefined) {
    // T098: it dropped while we worked; nothing may remain.
    forward.close()
    return refused('DISCONNECTED', 'the device disconnected meanwhile')
  }
  const rival = isFirst ? parts.tunnels.of(holder) : undefined
  if (rival && rival.epoch > tunnel.epoch) {
    forward.close()
    return refused('TAKEN_OVER', 'a newer connection of this device came first')
  }
  // Both were admitted before either stood, and the other was faster to listen.
  if (rival) replace(connection, rival, holder, tunnel.epoch)
  connection.tunnel = tunnel
  if (isFirst) {
    tunnel.add(forward)
    parts.tunnels.up(tunnel)
  } else parts.tunnels.addForward(tunnel, forward)
  return { outcome: 'opened', port: forward.shown.port }
}

/** It may end while its forward is being made, or between login and forward. */
function leaseIsOver({ parts, device }: ClientConnection): boolean {
  return device?.lease !== undefined && !parts.leases.stands(device.lease)
}

function refused(code: string, reason: string): { outcome: 'refused'; refusal: Refusal } {
  return { outcome: 'refused', refusal: { code, reason } }
}

function check(
  connection: ClientConnection,
  holder: Holder,
  request: ForwardRequest,
  bound: boolean,
): Refusal | undefined {
  const { parts, device, tunnel } = connection
  const most = device?.maxForwards ?? parts.settings.maxForwards
  const standing = tunnel?.forwards ?? []
  if (leaseIsOver(connection)) return { code: 'LEASE_EXPIRED', reason: 'the time of this lease is over' }
  const wrong = device && leaseRefusal(device, request, bound)
  if (wrong) return wrong
  if (standing.length >= most)
    return { code: 'TOO_MANY_FORWARDS', reason: `at most ${most} forwards per tunnel` }
  if (!tunnel && !parts.tunnels.of(holder)) {
    // A lease has no other slave to go to.
    if (parts.draining && device?.lease === undefined)
      return { code: 'DRAINING', reason: 'this slave is being drained; ask the master for another' }
    if (parts.tunnels.size >= parts.capacity)
      return { code: 'SLAVE_FULL', reason: 'this slave is full; ask the master for another' }
  }
  if (!bound) return checkName(request, standing)
  // Only where a capacity was named that counts on named tunnels can the bound ones run out of sockets.
  if (parts.tunnels.size + parts.ports.inUse + 2 > parts.sockets)
    return {
      code: 'SLAVE_FULL',
      reason: 'this slave has no socket left for another port; ask the master for another',
    }
  if (request.bindPort !== 0) {
    const code = standing.some(({ shown }) => shown.kind === 'bound' && shown.port === request.bindPort)
      ? 'PORT_IN_USE'
      : parts.ports.refusal(request.bindPort, holderKey(holder))
    return code && { code, reason: portReason(code, request.bindPort) }
  }
  if (parts.ports.inUse >= parts.ports.size && device?.lease === undefined && !parts.tunnels.of(holder))
    return { code: 'PORTS_EXHAUSTED', reason: 'no port of this slave is free' }
  return undefined
}

function checkName(request: ForwardRequest, standing: readonly LiveForward[]): Refusal | undefined {
  const name = forwardName(request)
  if (name === undefined)
    return {
      code: 'NAME_INVALID',
      reason: 'the name of a forward has 1 to 63 of the characters a-z, 0-9 and -',
    }
  const taken = standing.some(
    (forward) =>
      forward.shown.kind === 'named' &&
      forwardName(forward.request) === name &&
      forward.shown.port === request.bindPort,
  )
  return taken && request.bindPort !== 0
    ? { code: 'FORWARD_TAKEN', reason: `the forward ${name}:${request.bindPort} stands already` }
    : undefined
}

function portReason(code: string, port: number): string {
  if (code === 'PORT_RESERVED') return `port ${port} belongs to another device`
  if (code === 'PORT_OUT_OF_RANGE') return `port ${port} is outside the range of this slave`
  return `port ${port} is in use`
}

type Admitted = { outcome: 'admitted'; tunnel: LiveTunnel } | { outcome: 'refused'; refusal: Refusal }

/** Gets an epoch, from the master or from our own clock while there is none, and puts the holder's older tunnel here to rest. */
async function admit(connection: ClientConnection, holder: Holder): Promise<Admitted> {
  const { parts, fingerprint, remoteAddress, device } = connection
  const answer = await parts.admit({
    ...holder,
    fingerprint,
    remoteAddress,
    incumbent: parts.tunnels.of(holder)?.epoch ?? 0,
  })
  if (answer.outcome === 'refused') return refused(answer.code, answer.reason)
  // Looked up after the await: it may have come or gone meanwhile.
  const incumbent = parts.tunnels.of(holder)
  if (incumbent && incumbent.epoch > answer.epoch)
    return refused('TAKEN_OVER', 'a newer connection of this device came first')
  if (connection.ssh.socket.destroyed) return refused('DISCONNECTED', 'the device disconnected meanwhile')
  if (incumbent) replace(connection, incumbent, holder, answer.epoch)
  const tunnel = new LiveTunnel({
    holder,
    epoch: answer.epoch,
    fingerprint,
    remoteAddress,
    details: device?.details,
    connection: connection.ssh,
    visits: new Visits(parts.settings.maxVisits, parts.metrics, parts.log),
  })
  return { outcome: 'admitted', tunnel }
}

function replace(connection: ClientConnection, incumbent: LiveTunnel, holder: Holder, epoch: number): void {
  const { parts, remoteAddress } = connection
  const incumbentAddress = incumbent.facts.remoteAddress
  const reason = `a newer connection of ${holder.device} from ${remoteAddress} took over`
  void parts.tunnels.giveWay(incumbent, reason).then((contested) => {
    if (contested) parts.link.send('contested', { ...holder, epoch, remoteAddress, incumbentAddress })
  })
}

async function listen(
  connection: ClientConnection,
  tunnel: LiveTunnel,
  holder: Holder,
  request: ForwardRequest,
): Promise<BoundForward | Refusal> {
  const { parts, device } = connection
  const key = holderKey(holder)
  const ordinal = tunnel.forwards.filter(({ shown }) => shown.kind === 'bound').length
  // A 0 among the hook's ports means: any for this one.
  const fixed = request.bindPort === 0 ? device?.ports?.[ordinal] || undefined : request.bindPort
  const lost = new Set<number>()
  for (let tries = 0; tries < LISTEN_TRIES; tries++) {
    const port =
      fixed === undefined ? parts.ports.choose(key, ordinal, lost) : takeExactly(connection, fixed, key)
    if (port === undefined) return { code: 'PORTS_EXHAUSTED', reason: 'no port of this slave is free' }
    if (typeof port !== 'number') return port
    try {
      return await BoundForward.open({
        request,
        address: parts.settings.forwardAddress,
        port,
        connection: connection.ssh,
        visits: tunnel.visits,
        onClosed: () => parts.ports.release(port, key),
        onFailed: (error) => {
          // T085: a listener that failed is no tunnel; the device shall come again.
          connection.end({
            code: 'LISTEN_FAILED',
            reason: `the listening socket of port ${port} failed: ${error.message}`,
          })
        },
      })
    } catch (error) {
      parts.ports.release(port, key)
      lost.add(port)
      parts.log.warn({ port, err: error }, 'cannot listen on a port of the range')
      if (fixed !== undefined || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE')
        return {
          code: 'LISTEN_FAILED',
          reason: `port ${port} cannot be opened: ${errorText(error)}${device?.lease === undefined ? '' : '; ask for a new lease'}`,
        }
    }
  }
  return { code: 'PORTS_EXHAUSTED', reason: 'the ports of this slave are held by other programs' }
}

function takeExactly(connection: ClientConnection, port: number, key: string): number | Refusal {
  const { ports } = connection.parts
  if (ports.take(port, key)) return port
  const code = ports.refusal(port, key) ?? 'PORT_IN_USE'
  return { code, reason: portReason(code, port) }
}

/** `name:0` is told the smallest number from 1 that its name does not have yet. */
function nameIt(tunnel: LiveTunnel, request: ForwardRequest): NamedForward {
  const name = forwardName(request)
  const numbers = new Set(
    tunnel.forwards
      .filter((f) => f.shown.kind === 'named' && forwardName(f.request) === name)
      .map((f) => f.shown.port),
  )
  let number = request.bindPort
  while (number === 0 || (request.bindPort === 0 && numbers.has(number))) number++
  return new NamedForward(request, number)
}
