// Requests from one master to another, for slaves that are linked there: over publish/subscribe, because an answer that is
// late is no answer. Each has a deadline; what is lost on the way is LINK_DEADLINE.
import { errorText, SshoalError } from '@sshoal/shared'
import type { Cluster, Redis } from 'ioredis'

import type { FeedListener, SlaveRequest } from './cluster-feed.ts'

interface Pending {
  resolve(answer: unknown): void
  reject(error: Error): void
  timer: NodeJS.Timeout
}

interface Call {
  from: string
  id: number
  slave?: string
  type?: SlaveRequest
  question?: unknown
  answer?: unknown
  error?: { code: string; error: string }
}

export class MasterCalls {
  readonly #master: string
  readonly #keys: string
  readonly #redis: Redis | Cluster
  readonly #pending = new Map<number, Pending>()
  #next = 1

  constructor(master: string, redis: Redis | Cluster, keys: string) {
    this.#master = master
    this.#redis = redis
    this.#keys = keys
  }

  channel(master = this.#master): string {
    return `${this.#keys}calls:${master}`
  }

  /** Rejects with LINK_LOST, LINK_DEADLINE or what the other side answered. */
  call(
    master: string,
    slave: string,
    type: SlaveRequest,
    question: unknown,
    deadlineMs: number,
  ): Promise<unknown> {
    const id = this.#next++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(id)?.reject(late(type, deadlineMs)), deadlineMs)
      this.#pending.set(id, { resolve, reject, timer })
      const call: Call = { from: this.#master, id, slave, type, question }
      this.#redis.publish(this.channel(master), JSON.stringify(call)).then(
        (heard) => {
          // In a Redis Cluster the number is that of one node alone.
          if (heard === 0 && !this.#redis.isCluster)
            this.#settle(id)?.reject(new SshoalError('LINK_LOST', `${type}: the master ${master} is gone`))
        },
        (error: unknown) =>
          this.#settle(id)?.reject(new SshoalError('LINK_LOST', `${type}: ${errorText(error)}`)),
      )
    })
  }

  /** Something came on our channel. */
  receive(text: string, listener: FeedListener): void {
    const call = JSON.parse(text) as Call
    if (call.type === undefined) {
      const pending = this.#settle(call.id)
      if (call.error) pending?.reject(new SshoalError(call.error.code, call.error.error))
      else pending?.resolve(call.answer)
      return
    }
    listener.onRequest(call.slave ?? '', call.type, call.question).then(
      (answer) => this.#reply(call, { answer }),
      (error: unknown) =>
        this.#reply(call, {
          error: { code: error instanceof SshoalError ? error.code : 'INTERNAL', error: errorText(error) },
        }),
    )
  }

  close(): void {
    for (const id of this.#pending.keys())
      this.#settle(id)?.reject(new SshoalError('LINK_LOST', 'the master stops'))
  }

  #reply(call: Call, outcome: Pick<Call, 'answer' | 'error'>): void {
    const reply: Call = { from: this.#master, id: call.id, ...outcome }
    // Whoever asked has a deadline; there is nobody else to tell.
    this.#redis.publish(this.channel(call.from), JSON.stringify(reply)).catch(() => {})
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    clearTimeout(pending?.timer)
    return pending
  }
}

function late(type: string, deadlineMs: number): SshoalError {
  return new SshoalError('LINK_DEADLINE', `${type}: no answer within ${deadlineMs} ms`)
}
