// Slaves as the gate sees them, and questions as they ask them.
import type { VisitQuestion, VisitReport } from '@sshoal/shared'

import type { GateSlave } from '../../src/access/carriers.ts'
import { tunnelView } from '../fake-cluster.ts'
import { fingerprint, keyLine } from '../key-lines.ts'
import type { startParts } from '../master-parts.ts'

export type Parts = Awaited<ReturnType<typeof startParts>>

export function gateSlave(id: string, more: Partial<GateSlave> = {}): GateSlave {
  return {
    id,
    state: 'ready',
    region: undefined,
    hello: {
      instance: `${id} begun once`,
      publicPort: 2_222,
      sshPorts: [2_222],
      forwardPorts: { first: 20_000, last: 25_000 },
      addresses: [],
      relay: { port: 7_000 },
      dials: false,
      hostKeys: [{ algorithm: 'ssh-ed25519', publicKey: `AAAA${id.replace(/[^a-z0-9]/g, '')}` }],
    },
    seenAddress: '192.0.2.7',
    reachableHost: `${id}.example`,
    ...more,
  }
}

/** A device that is on the slave eu-1. */
export async function online(parts: Parts, device: string, project = 'default'): Promise<void> {
  if (!(await parts.registry.get(project, device))) await parts.registry.create(project, { id: device })
  parts.cluster.live.push(tunnelView(device, project))
}

/** A user with the key of that number. */
export async function person(parts: Parts, login: string, key: number, more: object = {}) {
  const { status, body } = await parts.call('POST', '/users', {
    email: `${login}@example.com`,
    login,
    keys: [keyLine(key, `${login} laptop`)],
    ...more,
  })
  if (status !== 201) throw new Error(JSON.stringify(body))
  return body as { id: string; login: string }
}

/** As a slave tells of a visit that begins now; `more` as it differs. */
export function visitReport(parts: Parts, id: string, more: Partial<VisitReport> = {}): VisitReport {
  return {
    id,
    project: 'default',
    user: 'u-1',
    login: 'ann',
    fingerprint: fingerprint(1),
    remoteAddress: '198.51.100.4',
    target: 'pump-1',
    port: 22,
    grant: 'g-1',
    startedAt: parts.clock.now,
    ...more,
  }
}

export async function visit(
  parts: Parts,
  user: { id: string },
  key: number,
  target: string,
  more: Partial<VisitQuestion> & { slave?: string } = {},
) {
  const { slave = 'eu-1', ...question } = more
  return parts.access.desk.visit(
    {
      project: 'default',
      user: user.id,
      fingerprint: fingerprint(key),
      target,
      port: 22,
      remoteAddress: '198.51.100.4',
      ...question,
    },
    slave,
  )
}

/** `granted`, or the code of the refusal. */
export async function outcome(...args: Parameters<typeof visit>): Promise<string> {
  const answer = await visit(...args)
  return answer.outcome === 'granted' ? 'granted' : answer.code
}
