// What is taken away (a token, a key, a device) waits until every replica has heard of it: after a failover it must not
// come back. Bounded: a replica that does not answer makes it slow, not impossible; then it is logged.
import { errorText, type Log } from '@sshoal/shared'

import type { RedisConnection } from './redis-connection.ts'
import type { RedisNames } from './redis-names.ts'

export const WAIT_MS = 800

export class Replication {
  readonly #connection: RedisConnection
  readonly #names: RedisNames
  readonly #log: Log
  #own: RedisConnection | undefined
  #now: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined
  #replicas = 0

  constructor(connection: RedisConnection, names: RedisNames, log: Log) {
    this.#connection = connection
    this.#names = names
    this.#log = log
  }

  /** `replicas`: how many follow. Never rejects. Those who come while others wait share the next one. */
  wait(replicas: number): Promise<void> {
    if (replicas === 0) return Promise.resolve()
    this.#replicas = replicas
    this.#next ??= this.#now.then(() => {
      this.#next = undefined
      this.#now = this.#waitOnce()
      return this.#now
    })
    return this.#next
  }

  close(): void {
    this.#own?.close()
  }

  /** On a connection of its own, because WAIT holds up all that comes behind it; so it waits for a write of its own, which came later. */
  async #waitOnce(): Promise<void> {
    const replicas = this.#replicas
    const log = this.#log
    try {
      this.#own ??= this.#connection.another()
      await this.#own.opened(WAIT_MS)
      const answers = await this.#own.call((client) =>
        client.pipeline().set(this.#names.waited, '1', 'EX', 60).wait(replicas, WAIT_MS).exec(),
      )
      const [error, reached] = answers?.[1] ?? []
      if (error) throw error
      if (Number(reached) < replicas)
        log.warn({ replicas, reached }, 'a revocation has not reached every replica of Redis yet')
    } catch (error) {
      log.warn(
        { replicas, reason: errorText(error) },
        'a revocation may not have reached the replicas of Redis',
      )
    }
  }
}
