// Every tunnel of this slave, at most one per holder, and how one ends. Tells the master of each change.
import { holderKey, type Holder, type Log, type Tunnel } from '@sshoal/shared'

import type { LiveForward } from './forward.ts'
import type { MasterLink } from './master-link.ts'
import type { SlaveMetrics } from './metrics.ts'
import { refusalText } from './refusal.ts'
import type { LiveTunnel } from './tunnel.ts'

export class Tunnels {
  readonly #byHolder = new Map<string, LiveTunnel>()
  readonly #metrics: SlaveMetrics
  readonly #log: Log
  #link: Pick<MasterLink, 'send'> | undefined

  constructor(metrics: SlaveMetrics, log: Log) {
    this.#metrics = metrics
    this.#log = log
  }

  /** Where changes are told from now on. */
  tell(link: Pick<MasterLink, 'send'>): void {
    this.#link = link
  }

  get size(): number {
    return this.#byHolder.size
  }

  values(): IterableIterator<LiveTunnel> {
    return this.#byHolder.values()
  }

  of(holder: Holder): LiveTunnel | undefined {
    return this.#byHolder.get(holderKey(holder))
  }

  snapshot(): Tunnel[] {
    return Array.from(this.#byHolder.values(), (tunnel) => tunnel.shown())
  }

  /** The tunnel stands, with its first forward. The holder's older one must have been ended before. */
  up(tunnel: LiveTunnel): void {
    this.#byHolder.set(tunnel.key, tunnel)
    this.#metrics.tunnels.inc()
    this.#metrics.tunnelsTotal.inc()
    this.#link?.send('tunnel.up', tunnel.shown())
    const { holder, remoteAddress, epoch } = tunnel.facts
    this.#log.info({ ...holder, remoteAddress, epoch, forwards: tunnel.shownForwards() }, 'tunnel up')
  }

  changed(tunnel: LiveTunnel): void {
    const { holder, epoch } = tunnel.facts
    this.#link?.send('tunnel.changed', { ...holder, epoch, forwards: tunnel.shownForwards() })
  }

  addForward(tunnel: LiveTunnel, forward: LiveForward): void {
    tunnel.add(forward)
    this.changed(tunnel)
  }

  removeForward(tunnel: LiveTunnel, forward: LiveForward): void {
    tunnel.remove(forward)
    this.changed(tunnel)
  }

  /** Closes the forwards in this step and takes the tunnel off the books; its connection is the caller's to end. */
  down(tunnel: LiveTunnel, reason: string, code: string): void {
    if (tunnel.ended !== undefined) return
    tunnel.ended = reason
    tunnel.closeForwards()
    if (this.#byHolder.get(tunnel.key) === tunnel) this.#byHolder.delete(tunnel.key)
    this.#metrics.tunnels.dec()
    this.#metrics.tunnelsEnded.inc({ reason: code })
    const { holder, epoch } = tunnel.facts
    this.#link?.send('tunnel.down', { ...holder, epoch, reason })
    this.#log.info({ ...holder, epoch, reason }, 'tunnel down')
  }

  /**
   * A newer connection of the holder takes over: the forwards close in this step, visits and connection when the loser has
   * either answered a keepalive or been silent for 3 s. Resolves with whether it answered, that is: was contested.
   */
  async giveWay(tunnel: LiveTunnel, reason: string): Promise<boolean> {
    this.down(tunnel, reason, 'taken-over')
    const contested = await tunnel.probe()
    tunnel.facts.connection.disconnect(refusalText({ code: 'TAKEN_OVER', reason }))
    return contested
  }

  /** Ends the tunnel and tells the client why. */
  cut(tunnel: LiveTunnel, reason: string, code: string): void {
    this.down(tunnel, reason, code)
    tunnel.facts.connection.disconnect(refusalText({ code, reason }))
  }
}
