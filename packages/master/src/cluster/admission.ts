// Who may hold a tunnel, and since when: mints epochs, settles take-overs across slaves, and notices that two machines
// claim one identity (a cloned SD card). Nothing of it is about a slave's link.
import { holderKey, type AdmitAnswer, type AdmitQuestion, type Holder } from '@sshoal/shared'

import { askSlave, PROBE_DEADLINE_MS } from './ask-slave.ts'
import type { LiveClusterDeps } from './cluster-deps.ts'
import { Contests } from './contests.ts'
import type { LiveTunnel } from './live-tunnel.ts'
import { wireHolder, type LiveTunnels } from './live-tunnels.ts'
import type { SlaveRecord } from './slave-record.ts'

export type AdmissionDeps = Pick<LiveClusterDeps, 'announce' | 'feed' | 'log'>

export class Admission {
  readonly #deps: AdmissionDeps
  readonly #tunnels: LiveTunnels
  readonly #contests = new Contests()

  constructor(deps: AdmissionDeps, tunnels: LiveTunnels) {
    this.#deps = deps
    this.#tunnels = tunnels
  }

  async admit(slave: SlaveRecord, question: AdmitQuestion): Promise<AdmitAnswer> {
    const key = holderKey(question)
    const incumbent = this.#tunnels.get(key)
    if (incumbent && this.#contests.disputed(key) && (await this.#alive(incumbent))) {
      const addresses = [incumbent.remoteAddress, question.remoteAddress]
      this.#cloned(question, addresses, incumbent, slave)
      return {
        outcome: 'refused',
        code: 'DEVICE_CLONED',
        reason: `${question.device} is connected from ${incumbent.remoteAddress} and answers there; two machines seem to share one key`,
      }
    }
    const tunnels = this.#tunnels
    const last = Math.max(tunnels.get(key)?.epoch ?? 0, question.incumbent)
    // Over all holders, so that two newcomers of one holder at once get two epochs.
    tunnels.lastEpoch = Math.max(last + 1, tunnels.lastEpoch + 1, this.#deps.feed.nowMicros())
    return { outcome: 'admitted', epoch: tunnels.lastEpoch }
  }

  /** A slave of ours saw a take-over whose loser was still alive. */
  contested(slave: SlaveRecord, holder: Holder, remoteAddress: string, incumbentAddress: string): void {
    this.noteContest(holder)
    this.#deps.feed.publish({ type: 'contested', holder: wireHolder(holder) })
    this.#deps.log.info(
      { slave: slave.id, device: holder.device, remoteAddress, incumbentAddress },
      'contested take-over',
    )
  }

  noteContest(holder: Holder): void {
    this.#contests.note(holderKey(holder))
  }

  /** Whoever has the older tunnel's slave on its own link tells it to let go; every master comes by here. */
  letGo(older: LiveTunnel, newer: LiveTunnel): void {
    const reason = `a newer connection of ${older.device} from ${newer.remoteAddress} took over`
    older.slave.wire
      ?.request('yield', { ...wireHolder(older), epoch: newer.epoch, reason }, PROBE_DEADLINE_MS)
      .then(
        ({ contested }) => {
          if (contested) this.contested(newer.slave, newer, newer.remoteAddress, older.remoteAddress)
        },
        (error: unknown) =>
          this.#deps.log.warn(
            { slave: older.slave.id, err: error },
            'a slave did not confirm that it let go',
          ),
      )
  }

  async #alive(tunnel: LiveTunnel): Promise<boolean> {
    const holder = wireHolder(tunnel)
    try {
      return (await askSlave(tunnel.slave, this.#deps.feed, 'probe', holder, PROBE_DEADLINE_MS)).alive
    } catch {
      return false
    }
  }

  #cloned(holder: Holder, addresses: string[], incumbent: LiveTunnel, slave: SlaveRecord): void {
    const data = { device: holder.device, addresses, slaves: [incumbent.slave.id, slave.id] }
    this.#deps.announce('device.cloned', data, {
      project: holder.project,
      source: holder.device,
      reason: 'DEVICE_CLONED',
    })
  }
}
