// The last step to a device that this slave holds: which forward, is there room, and a channel on the device's connection.
import { toldOf } from '../forward.ts'
import type { SlaveParts } from '../slave-parts.ts'
import { ChannelOpenError, type SshChannel } from '../ssh2/index.ts'
import { notReached, type Reached } from './far-end.ts'
import type { GateVisit } from './gate-visit.ts'
import { whichForward } from './which-forward.ts'

/** A device that is gone without a word is found out by keepalives, later than a person waits. */
const OPEN_DEADLINE_MS = 10_000

export async function reachDevice(
  { tunnels }: Pick<SlaveParts, 'tunnels'>,
  visit: GateVisit,
  to: { project: string; device: string; target: string; forward?: string },
): Promise<Reached> {
  const { port } = visit.question
  const tunnel = tunnels.of({ project: to.project, device: to.device })
  if (!tunnel)
    return notReached({ code: 'TARGET_OFFLINE', reason: `${to.target} is not connected`, askAgain: true })
  const forward = whichForward(tunnel.forwards, port, to.forward)
  if (!forward) return notReached({ code: 'NO_SUCH_PORT', reason: `${to.target} offers no port ${port}` })
  const seat = tunnel.visits.begin({ destroy: () => visit.cut('the device disconnected') })
  if (!seat) return notReached({ code: 'TOO_MANY_VISITS', reason: `${to.target} has too many visits now` })
  const opening = tunnel.facts.connection.openForwarded(toldOf(forward), {
    address: visit.question.remoteAddress,
    port: 0,
  })
  let channel: SshChannel
  try {
    channel = await inTime(opening)
  } catch (error) {
    seat.refused(error)
    const why = error instanceof ChannelOpenError ? error.message : 'it does not answer'
    return notReached({
      code: 'TARGET_REFUSED',
      reason: `${to.target} refused port ${port}: ${why === '' ? 'no reason given' : why}`,
      connectFailed: true,
    })
  }
  let joined = false
  return {
    outcome: 'reached',
    far: {
      async join(users) {
        joined = true
        const end = await users.join(channel)
        // The device's view is the mirror of the user's.
        seat.end({ ...end, bytesToChannel: end.bytesFromChannel, bytesFromChannel: end.bytesToChannel })
        return end
      },
      destroy() {
        channel.destroy()
        if (!joined) seat.end({ bytesToChannel: 0, bytesFromChannel: 0, reason: 'destroyed' })
      },
      // Its channels end before the connection is closed, which is what cuts visits.
      whyGone() {
        const { socket } = tunnel.facts.connection
        const isGone = socket.destroyed || socket.readableEnded || socket.writableEnded
        return tunnel.ended ?? (isGone ? 'the device disconnected' : undefined)
      },
    },
  }
}

/** A channel that comes after all is closed. */
async function inTime(opening: Promise<SshChannel>): Promise<SshChannel> {
  let timer: NodeJS.Timeout | undefined
  let late = false
  opening.then(
    (channel) => {
      if (late) channel.destroy()
    },
    () => {},
  )
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      late = true
      reject(new Error('no answer'))
    }, OPEN_DEADLINE_MS)
  })
  try {
    return await Promise.race([opening, deadline])
  } finally {
    clearTimeout(timer)
  }
}
