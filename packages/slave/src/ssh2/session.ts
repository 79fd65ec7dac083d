import { WireReader } from '@sshoal/shared/ssh-wire'

// A session channel: nothing is ever run. A `shell` request gets a text, exec and subsystems are refused. It stays open
// because OpenSSH without `-N` exits 255 when its session is refused, and ends its tunnel when the session closes.
import type { Channel, ChannelEnd } from './channel.ts'
import type { ShellView, SshConnectionHandlers } from './ssh-server.ts'

const CTRL_C = 3
const CTRL_D = 4
/** Requests that may wait while a shell's text is fetched. */
const MAX_WAITING = 32

interface WaitingRequest {
  type: string
  wantReply: boolean
}

export class Session implements ChannelEnd {
  #channel: Channel
  #handlers: SshConnectionHandlers
  #terminal = false
  #shell = false
  #endsAtEof = false
  #finished = false
  #busy = false
  #waiting: WaitingRequest[] = []
  #unsent: Buffer | undefined

  constructor(channel: Channel, handlers: SshConnectionHandlers) {
    this.#channel = channel
    this.#handlers = handlers
    channel.attach(this)
  }

  onData(data: Buffer): void {
    this.#channel.consumed(data.length)
    if (this.#terminal && this.#shell && (data.includes(CTRL_C) || data.includes(CTRL_D))) this.#finish()
  }

  /** Without a terminal EOF is mostly what `ssh host < /dev/null` sends at once; its tunnel must stay. */
  onEof(): void {
    if (this.#endsAtEof && this.#shell) this.#finish()
  }

  onRoom(): void {
    if (this.#unsent === undefined) return
    const text = this.#unsent
    const sent = this.#channel.send(text)
    this.#unsent = sent < text.length ? text.subarray(sent) : undefined
    if (this.#finished) this.#finish()
  }

  onClosed(): void {
    this.#unsent = undefined
    this.#waiting = []
  }

  onRequest(type: string, wantReply: boolean, payload: Buffer, at: number): void {
    if (type === 'signal' && ['INT', 'TERM', 'HUP'].includes(new WireReader(payload, at).text())) {
      if (this.#shell) this.#finish()
      return
    }
    if (!this.#busy) this.#answer({ type, wantReply })
    else if (this.#waiting.length < MAX_WAITING) this.#waiting.push({ type, wantReply })
    else this.#channel.destroy()
  }

  /** Replies go out in the order of the requests (RFC 4254 §4). */
  #answer({ type, wantReply }: WaitingRequest): void {
    if (type === 'shell' && !this.#shell) {
      this.#busy = true
      void this.#show(wantReply)
      return
    }
    const granted = (type === 'pty-req' && !this.#shell) || type === 'window-change'
    if (type === 'pty-req' && granted) this.#terminal = true
    if (type === 'exec' || type === 'subsystem') this.#handlers.onRefusedRequest?.(type)
    if (wantReply) this.#channel.reply(granted)
  }

  async #show(wantReply: boolean): Promise<void> {
    let view: ShellView | undefined
    try {
      view = await this.#handlers.onShell?.()
    } catch {
      view = undefined
    }
    this.#busy = false
    if (this.#channel.closed) return
    if (wantReply) this.#channel.reply(view !== undefined)
    if (view !== undefined) {
      this.#shell = true
      this.#endsAtEof = this.#terminal || view.endsAtEof === true
      const lines = view.text.replace(/\r?\n$/, '').split(/\r?\n/)
      const newline = this.#terminal ? '\r\n' : '\n'
      this.#unsent = Buffer.from(lines.map((line) => line + newline).join(''))
      this.onRoom()
      if (this.#endsAtEof && this.#channel.gotEof) this.#finish()
    }
    while (!this.#busy) {
      const next = this.#waiting.shift()
      if (next === undefined) return
      this.#answer(next)
    }
  }

  #finish(): void {
    this.#finished = true
    if (this.#channel.closed || this.#unsent !== undefined) return
    this.#channel.sendExitStatus(0)
    this.#channel.sendEof()
    this.#channel.close()
  }
}
