// The step to a target that another slave carries: a channel of the one connection to that slave's relay.
import type { VisitGrant } from '@sshoal/shared'

import { ChannelOpenError, OpenFailure } from '../ssh2/index.ts'
import { notReached, type Reached } from './far-end.ts'
import type { GateVisit } from './gate-visit.ts'
import type { RelayedChannel, RelayPool } from './relay-pool.ts'

export async function reachRelay(
  relays: RelayPool,
  self: string,
  visit: GateVisit,
  { target, grant, carrier }: VisitGrant,
): Promise<Reached> {
  const { slave, relay } = carrier
  if (!relay)
    return notReached({
      code: 'NO_CARRIER',
      reason: `${target} is on slave ${slave}, which takes no visits from others`,
    })
  let relayed: RelayedChannel
  try {
    relayed = await relays.open(slave, relay, {
      id: visit.id,
      login: visit.login,
      grant,
      question: { ...visit.question, via: self },
    })
  } catch (error) {
    if (error instanceof ChannelOpenError && error.code === OpenFailure.ADMINISTRATIVELY_PROHIBITED)
      return notReached({ code: 'REFUSED_BY_CARRIER', reason: withoutName(error.message) })
    if (error instanceof ChannelOpenError && error.code === OpenFailure.ASK_AGAIN)
      return notReached({ code: 'CHANGED_MEANWHILE', reason: withoutName(error.message), askAgain: true })
    const text = error instanceof Error ? error.message : String(error)
    // What the carrier says of its device comes with our name before it; all else is about the way there.
    const reason = text.startsWith(NAME)
      ? withoutName(text)
      : `slave ${slave}, which has ${target}, cannot be reached: ${text}`
    return notReached({ code: 'CARRIER_UNREACHABLE', reason, connectFailed: true })
  }
  const { channel, over } = relayed
  let isOver = false
  const once = (): void => {
    if (!isOver) over()
    isOver = true
  }
  return {
    outcome: 'reached',
    far: {
      async join(users) {
        const end = await users.join(channel)
        once()
        return end
      },
      destroy(reason) {
        if (reason !== undefined) channel.tellWhy(reason)
        channel.destroy()
        once()
      },
    },
  }
}

const NAME = 'sshoal: '

function withoutName(text: string): string {
  return text.startsWith(NAME) ? text.slice(NAME.length) : text
}
