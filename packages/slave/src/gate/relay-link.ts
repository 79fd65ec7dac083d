// One SSH connection to another slave's relay, for all visits that this slave hands over to it. Made on demand, closed when
// it was of no use for a while, given up when the other end is silent.
import { connect } from 'node:net'

import { errorText, type RelayedVisit } from '@sshoal/shared'

import type { Keepalive, Watched } from '../keepalive.ts'
import { ChannelOpenError, connectSsh, OpenFailure } from '../ssh2/index.ts'
import type { SshChannel, SshClient } from '../ssh2/index.ts'

const CONNECT_DEADLINE_MS = 3_000
const LOGIN_DEADLINE_MS = 6_000
const IDLE_MS = 60_000
/** Silent for three times as long: a person does not wait for a minute to hear that the other slave is gone. */
export const RELAY_KEEPALIVE_MS = 3_000
export const RELAY_KEEPALIVE_MAX = 2
/** No sign of life after so long when something was asked: it is asked for one; after as long again it is given up. */
const DOUBT_MS = 2_000

export interface RelayLinkOptions {
  /** The name of this slave. */
  self: string
  host: string
  port: number
  /** Wire form, base64. */
  hostKeys: readonly string[]
  privateKey: string
  software: string
  keepalive: Keepalive
  onClose(): void
}

export class RelayLink implements Watched {
  readonly #client: SshClient
  readonly #ready: Promise<void>
  #loggedIn = false
  #unwatch: (() => void) | undefined
  #idle: NodeJS.Timeout | undefined
  #visits = 0

  constructor(options: RelayLinkOptions) {
    const { host, port } = options
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true })
    const giveUp = (text: string) => () => socket.destroy(new Error(text))
    let deadline = setTimeout(giveUp('no answer'), CONNECT_DEADLINE_MS)
    socket.once('connect', () => {
      clearTimeout(deadline)
      deadline = setTimeout(giveUp('no login in time'), LOGIN_DEADLINE_MS)
    })
    let succeed = (): void => {}
    let fail = (_error: Error): void => {}
    this.#ready = new Promise((resolve, reject) => {
      succeed = resolve
      fail = reject
    })
    this.#ready.catch(() => {})
    this.#client = connectSsh(
      socket,
      {
        privateKey: options.privateKey,
        username: options.self,
        hostKeys: options.hostKeys.map((key) => Buffer.from(key, 'base64')),
        software: options.software,
      },
      {
        onReady: () => {
          clearTimeout(deadline)
          this.#loggedIn = true
          this.#unwatch = options.keepalive.watch(this, RELAY_KEEPALIVE_MS, RELAY_KEEPALIVE_MAX)
          succeed()
        },
        onClose: (error) => {
          clearTimeout(deadline)
          clearTimeout(this.#idle)
          this.#unwatch?.()
          fail(new Error(error?.message ?? 'it ended the connection'))
          options.onClose()
        },
      },
    )
  }

  get loggedIn(): boolean {
    return this.#loggedIn
  }

  get lastHeardAt(): number {
    return this.#client.lastHeardAt
  }

  ping(): void {
    this.#client.ping()
  }

  onSilent(): void {
    this.#client.destroy()
  }

  /** Resolves when it is logged in; rejects with why it never will be. */
  ready(): Promise<void> {
    return this.#ready
  }

  /** Rejects with `ChannelOpenError`: the peer's refusal, or that the connection is gone. */
  async open(visit: RelayedVisit): Promise<SshChannel> {
    this.#visits++
    clearTimeout(this.#idle)
    try {
      await this.#ready
    } catch (error) {
      this.over()
      throw new ChannelOpenError(OpenFailure.CONNECT_FAILED, errorText(error))
    }
    const stopDoubting = this.#doubt()
    try {
      return await this.#client.openVisit(Buffer.from(JSON.stringify(visit)))
    } catch (error) {
      this.over()
      throw error
    } finally {
      stopDoubting()
    }
  }

  /** A visit that was opened has ended. */
  over(): void {
    if (--this.#visits > 0) return
    this.#idle = setTimeout(() => this.close('no more visits'), IDLE_MS)
    this.#idle.unref()
  }

  close(reason: string): void {
    clearTimeout(this.#idle)
    if (this.#loggedIn) this.#client.disconnect(reason)
    else this.#client.destroy()
  }

  #doubt(): () => void {
    const askedAt = performance.now()
    let timer = setTimeout(() => {
      if (this.lastHeardAt > askedAt) return
      this.ping()
      timer = setTimeout(() => {
        if (this.lastHeardAt <= askedAt) this.onSilent()
      }, DOUBT_MS)
    }, DOUBT_MS)
    return () => clearTimeout(timer)
  }
}
