// One tunnel in the master's view. A million of these stand in memory: fields are flat and shared where they can be.
import { formatHostPort, holderKey, type Forward, type Tunnel } from '@sshoal/shared'

import type { TunnelView } from './cluster.ts'
import type { SlaveRecord } from './slave-record.ts'

const NO_DETAILS = Object.freeze({})

export class LiveTunnel {
  readonly key: string
  readonly project: string
  readonly device: string
  readonly lease: string | undefined
  readonly slave: SlaveRecord
  readonly epoch: number
  readonly fingerprint: string
  readonly remoteAddress: string
  readonly connectedAt: number
  readonly details: Record<string, unknown>
  forwards: Forward[]

  constructor(tunnel: Tunnel, slave: SlaveRecord) {
    this.key = holderKey(tunnel)
    this.project = tunnel.project
    this.device = tunnel.device
    this.lease = tunnel.lease
    this.slave = slave
    this.epoch = tunnel.epoch
    this.fingerprint = tunnel.fingerprint
    this.remoteAddress = tunnel.remoteAddress
    this.connectedAt = tunnel.connectedAt
    this.details = tunnel.details ?? NO_DETAILS
    this.forwards = tunnel.forwards
  }

  /** As a slave said it. */
  wire(): Tunnel {
    const { project, device, lease, epoch, fingerprint, remoteAddress, connectedAt, forwards, details } = this
    return {
      project,
      device,
      ...(lease === undefined ? {} : { lease }),
      epoch,
      fingerprint,
      remoteAddress,
      connectedAt,
      forwards,
      ...(details === NO_DETAILS ? {} : { details }),
    }
  }

  view(): TunnelView {
    const { slave } = this
    return {
      device: this.device,
      project: this.project,
      ...(this.lease === undefined ? {} : { lease: this.lease }),
      slave: slave.id,
      host: slave.publicHost,
      forwards: this.forwards.map((forward) => ({
        kind: forward.kind,
        bindAddress: forward.bindAddress,
        bindPort: forward.bindPort,
        port: forward.port,
        address: forward.kind === 'bound' ? formatHostPort(slave.forwardHost, forward.port) : null,
      })),
      remoteAddress: this.remoteAddress,
      fingerprint: this.fingerprint,
      connectedAt: new Date(this.connectedAt).toISOString(),
      epoch: this.epoch,
      details: this.details,
    }
  }
}
