// A lease as REST shows it: where it is, how long still, and, once, everything that its device needs.
import { isLoopback, SshoalError } from '@sshoal/shared'
import type { FastifyRequest } from 'fastify'
import { Type, type Static } from 'typebox'

import type { LeaseSlave } from '../leases/lease-slaves.ts'
import type { Lease, LeaseState } from '../leases/lease.ts'
import { askedHost } from './asked-host.ts'

export const LeaseBody = Type.Object({
  id: Type.String(),
  project: Type.String(),
  device: Type.String(),
  state: Type.Unsafe<LeaseState>(
    Type.Union(
      ['active', 'port-lost', 'stranded'].map((state) => Type.Literal(state)),
      {
        description:
          '`port-lost`: another process has its port; `stranded`: its slave is lost. A new lease helps in both.',
      },
    ),
  ),
  publicKey: Type.String({ description: 'The OpenSSH line.' }),
  fingerprint: Type.String(),
  port: Type.Integer(),
  slave: Type.String(),
  connected: Type.Boolean({ description: 'Its tunnel is up.' }),
  issuedAt: Type.String(),
  expiresAt: Type.String(),
  remainingMs: Type.Integer(),
})
export type LeaseBody = Static<typeof LeaseBody>

/** What the slave adds; missing while the slave is lost. */
const Way = {
  host: Type.String({ description: 'Where the device connects.' }),
  sshPort: Type.Integer(),
  knownHosts: Type.String({ description: 'The slave’s host keys, as a known_hosts file has them.' }),
  visit: Type.Object(
    { address: Type.String(), port: Type.Integer() },
    { description: 'Where visitors reach the device.' },
  ),
  command: Type.String({ description: 'What the device runs.' }),
}
export const LeaseWithWay = Type.Object({
  ...LeaseBody.properties,
  host: Type.Optional(Way.host),
  sshPort: Type.Optional(Way.sshPort),
  knownHosts: Type.Optional(Way.knownHosts),
  visit: Type.Optional(Way.visit),
  command: Type.Optional(Way.command),
})
export type LeaseWithWay = Static<typeof LeaseWithWay>

export const IssuedBody = Type.Object({
  ...LeaseBody.properties,
  ...Way,
  privateKey: Type.Optional(
    Type.String({ description: 'Given this once, unless a publicKey was handed in; nobody keeps it.' }),
  ),
})
export type IssuedBody = Static<typeof IssuedBody>

export function viewLease(
  lease: Lease,
  { state, now, connected }: { state: LeaseState; now: number; connected: boolean },
): LeaseBody {
  return {
    id: lease.id,
    project: lease.project,
    device: lease.device,
    state,
    publicKey: `${lease.publicKey} ${lease.device}`,
    fingerprint: lease.fingerprint,
    port: lease.port,
    slave: lease.slave,
    connected,
    issuedAt: new Date(lease.issuedAt).toISOString(),
    expiresAt: new Date(lease.expiresAt).toISOString(),
    remainingMs: Math.max(0, Math.round(lease.expiresAt - now)),
  }
}

export function wayTo(lease: Lease, slave: LeaseSlave, request: FastifyRequest) {
  const host = slave.host ?? askedHost(request)
  const { sshPort } = slave
  return {
    host,
    sshPort,
    // The plain host, whatever the port: dropbear ignores `[host]:port` lines, OpenSSH accepts both.
    knownHosts: slave.hostKeys.map((key) => `${host} ${key}\n`).join(''),
    visit: { address: slave.visitHost, port: lease.port },
    command: [
      'ssh -N -i lease-key -o IdentitiesOnly=yes -o UserKnownHostsFile=lease-known-hosts',
      '-o StrictHostKeyChecking=yes -o ExitOnForwardFailure=yes',
      `-p ${sshPort} -R ${lease.port}:localhost:22 lease@${host}`,
    ].join(' '),
  }
}

/**
 * A private key leaves over TLS, or on the machine itself; `--insecure-http` does not change that. Headers of a proxy that is
 * not trusted mean that the loopback address is not the asker's. Throws KEY_NEEDS_TLS.
 */
export function requirePrivacy(request: FastifyRequest): void {
  const { headers } = request
  const behindStranger =
    isLoopback(request.ip) && (headers['x-forwarded-for'] ?? headers.forwarded) !== undefined
  if (request.protocol === 'https' || (isLoopback(request.ip) && !behindStranger)) return
  throw new SshoalError(
    'KEY_NEEDS_TLS',
    'a private key is given over https or on this machine alone; hand in a publicKey, use https, or name the proxy in between with --trust-proxy',
  )
}
