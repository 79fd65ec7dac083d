import { WireError, WireReader, message } from '@sshoal/shared/ssh-wire'

// The queue of a connection's global requests (RFC 4254 §4): handlers are asynchronous, replies are strictly in the order
// of the requests. ssh2 hands out `accept` undefined where no reply is wanted; here "no reply" is a property of the request.
import { Message } from './message.ts'
import type { SshConnectionHandlers } from './ssh-server.ts'
import type { Transport } from './transport.ts'

const MAX_WAITING = 1024

interface GlobalRequest {
  wantReply: boolean
  /** The reply, or undefined: refused. Absent: refused without asking. */
  handle?: () => Promise<Buffer | undefined>
}

export class GlobalRequests {
  #transport: Transport
  #handlers: SshConnectionHandlers
  #waiting: GlobalRequest[] = []
  #busy = false

  constructor(transport: Transport, handlers: SshConnectionHandlers) {
    this.#transport = transport
    this.#handlers = handlers
  }

  onMessage(payload: Buffer): void {
    const fields = new WireReader(payload, 1)
    const type = fields.text()
    const request: GlobalRequest = { wantReply: fields.boolean() }
    if (type === 'tcpip-forward' || type === 'cancel-tcpip-forward') {
      const forward = { bindAddress: fields.text(), bindPort: fields.uint32() }
      if (forward.bindPort > 65_535) throw new WireError('no such port')
      request.handle =
        type === 'tcpip-forward'
          ? async () => {
              const port = await this.#handlers.onForward(forward)
              if (port === null) return undefined
              // Only port 0 is told what it became; OpenSSH exits on an "incomplete message" without it.
              return forward.bindPort === 0
                ? message(Message.REQUEST_SUCCESS, port)
                : message(Message.REQUEST_SUCCESS)
            }
          : async () =>
              (await this.#handlers.onCancelForward(forward)) ? message(Message.REQUEST_SUCCESS) : undefined
    }
    if (!this.#busy) void this.#start(request)
    else if (this.#waiting.length < MAX_WAITING) this.#waiting.push(request)
    else this.#transport.fail('too many requests at once', 'BUFFER_LIMIT')
  }

  async #start(request: GlobalRequest): Promise<void> {
    for (let next: GlobalRequest | undefined = request; next !== undefined; next = this.#waiting.shift()) {
      if (next.handle === undefined) {
        this.#reply(next, undefined)
        continue
      }
      this.#busy = true
      let reply: Buffer | undefined
      try {
        reply = await next.handle()
      } catch {
        reply = undefined
      }
      if (this.#transport.ended) return
      this.#reply(next, reply)
    }
    this.#busy = false
  }

  #reply(request: GlobalRequest, reply: Buffer | undefined): void {
    if (request.wantReply) this.#transport.send(reply ?? message(Message.REQUEST_FAILURE))
  }
}
