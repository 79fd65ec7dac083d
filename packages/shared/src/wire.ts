// One end of the cluster link: frames, requests with deadlines, liveness. Knows the catalogues' shape, not their meaning.
// Incoming frames are worked off in slices, so that pings are answered while a large snapshot is being read.
import type { Static, TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { WebSocket } from 'ws'

import { CLOSE, type CloseCode } from './close-codes.ts'
import type { Log } from './log.ts'
import { Passing } from './passing.ts'
import type { Catalogue, Notices } from './protocol.ts'
import { MAX_FRAME_BYTES, PING_EVERY_MS, REQUEST_DEADLINE_MS, SILENT_AFTER_MS } from './protocol.ts'
import { errorText, SshoalError } from './sshoal-error.ts'
import { Turns } from './turns.ts'

/** All links of a process share its one event loop, and so they share this. */
const turns = new Turns(8)
/** Often enough that a loss is noticed within SILENT_AFTER_MS, not a ping later. */
const CHECK_EVERY_MS = 1_000
const FLUSH_BYTES = 64 * 1024
/** With so much to work off a link is read no further: the rest waits where it is, not in our memory five hundred times. */
const PAUSE_BYTES = 64 * 1024
/** A snapshot of 18,000 tunnels with all the details they may have is 80 MB. */
const MAX_QUEUED_BYTES = 32 * MAX_FRAME_BYTES

/** What one side may say: notices nobody answers, and requests. */
export interface Speech {
  notices: Notices
  requests: Catalogue
}

export type NoticeHandlers<N extends Notices> = { [K in keyof N]: (body: Static<N[K]>) => void }
export type RequestHandlers<C extends Catalogue> = {
  [K in keyof C]: (question: Static<C[K]['question']>) => Promise<Static<C[K]['answer']>>
}

/** What may be asked and what is answered, each type's schema looked up once: told per type, the compiler takes seconds. */
export type Questions<C extends Catalogue> = { [K in keyof C]: Static<C[K]['question']> }
export type Answers<C extends Catalogue> = { [K in keyof C]: Static<C[K]['answer']> }

type Check = (value: unknown) => string | undefined

/** The schemas of one side, compiled once. */
export interface CompiledSpeech<S extends Speech> {
  speech: S
  notices: Map<string, Check>
  questions: Map<string, Check>
  answers: Map<string, Check>
}

export function compileSpeech<S extends Speech>(speech: S): CompiledSpeech<S> {
  const requests = Object.entries(speech.requests)
  return {
    speech,
    notices: new Map(Object.entries(speech.notices).map(([type, schema]) => [type, compile(schema)])),
    questions: new Map(requests.map(([type, { question }]) => [type, compile(question)])),
    answers: new Map(requests.map(([type, { answer }]) => [type, compile(answer)])),
  }
}

function compile(schema: TSchema): Check {
  const validator = Compile(schema)
  return (value) => {
    if (validator.Check(value)) return undefined
    const [problem] = validator.Errors(value)
    return problem ? `${problem.instancePath || '/'} ${problem.message}` : 'does not fit its schema'
  }
}

export interface WireOptions<Out extends Speech, In extends Speech> {
  socket: WebSocket
  sends: CompiledSpeech<Out>
  receives: CompiledSpeech<In>
  onNotice: NoticeHandlers<In['notices']>
  onRequest: RequestHandlers<In['requests']>
  /** Once, when the link is gone; everything pending has been rejected. */
  onClose(end: { code: number; reason: string }): void
  log: Log
}

interface Pending {
  type: string
  resolve(answer: unknown): void
  reject(error: Error): void
  timer: NodeJS.Timeout
}

export class Wire<Out extends Speech, In extends Speech> {
  readonly #options: WireOptions<Out, In>
  readonly #socket: WebSocket
  readonly #pending = new Passing<number, Pending>()
  readonly #liveness: NodeJS.Timeout
  #nextRequest = 1
  #outgoing: string[] = []
  #outgoingBytes = 0
  #flushing = false
  #incoming: Buffer[] = []
  #incomingBytes = 0
  #paused = false
  #working = false
  #lastHeardAt = performance.now()
  #pingedAt = performance.now()
  /** We said good-bye: what still comes is not for us. */
  #closing = false
  /** The socket is gone, what came before is still being worked off. */
  #gone: { code: number; reason: string } | undefined
  #ended = false
  /** Messages of a type that this version does not know; they were ignored. */
  unknownMessages = 0

  constructor(options: WireOptions<Out, In>) {
    this.#options = options
    this.#socket = options.socket
    this.#socket.on('error', (error) => options.log.debug({ err: error }, 'link error'))
    this.#socket.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary))
    this.#socket.on('open', () => this.#heard())
    this.#socket.on('ping', () => this.#heard())
    this.#socket.on('pong', () => this.#heard())
    this.#socket.on('close', (code, reason) => {
      if (this.#working && !this.#closing) this.#gone = { code, reason: reason.toString() }
      else this.#end(code, reason.toString())
    })
    this.#liveness = setInterval(() => this.#checkLiveness(), CHECK_EVERY_MS)
  }

  get open(): boolean {
    return !this.#ended && this.#socket.readyState === WebSocket.OPEN
  }

  /** Something that the other side sent has not been worked off yet. */
  get behind(): boolean {
    return this.#working
  }

  /** Queues a notice; all of one tick leave in one frame. Does nothing on a link that is gone. */
  send<K extends keyof Out['notices'] & string>(type: K, body: Static<Out['notices'][K]>): void {
    this.#queue(JSON.stringify([type, body]))
  }

  /** Rejects with LINK_LOST, LINK_DEADLINE or the code the other side answered; never waits longer than `deadlineMs`. */
  request<K extends keyof Out['requests'] & string>(
    type: K,
    question: Questions<Out['requests']>[K],
    deadlineMs: number = REQUEST_DEADLINE_MS,
  ): Promise<Answers<Out['requests']>[K]> {
    if (!this.open) return Promise.reject(new SshoalError('LINK_LOST', `${type}: there is no link`))
    const number = this.#nextRequest++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(number)
        reject(new SshoalError('LINK_DEADLINE', `${type}: no answer within ${deadlineMs} ms`))
      }, deadlineMs)
      this.#pending.set(number, { type, resolve, reject, timer })
      this.#queue(JSON.stringify([type, question, number]))
    })
  }

  /** Is anybody at the other end? False when nothing was heard within `withinMs` of a ping. */
  async alive(withinMs: number): Promise<boolean> {
    if (!this.open) return false
    return new Promise((resolve) => {
      const done = (alive: boolean): void => {
        clearTimeout(timer)
        this.#socket.off('pong', heard)
        this.#socket.off('close', gone)
        resolve(alive)
      }
      const heard = (): void => done(true)
      const gone = (): void => done(false)
      const timer = setTimeout(() => done(false), withinMs)
      this.#socket.on('pong', heard)
      this.#socket.on('close', gone)
      this.#socket.ping()
    })
  }

  /** Sends what is queued, then closes; a peer that does not close within 1 s is dropped. */
  close(code: CloseCode, reason: string): void {
    if (this.#ended || this.#closing) return
    this.#flush()
    this.#closing = true
    this.#incoming = []
    // The other side's good-bye is behind what it sent.
    if (this.#paused) this.#resume()
    // RFC 6455 §5.5: a control frame carries at most 125 bytes, two of them the code.
    this.#socket.close(
      code,
      Buffer.from(reason)
        .subarray(0, 123)
        .toString()
        .replace(/\uFFFD$/, ''),
    )
    setTimeout(() => this.#socket.terminate(), 1_000).unref()
  }

  terminate(): void {
    this.#socket.terminate()
    this.#end(CLOSE.SILENT, 'terminated')
  }

  #queue(message: string): void {
    if (!this.open) return
    this.#outgoing.push(message)
    this.#outgoingBytes += message.length
    if (this.#outgoingBytes >= FLUSH_BYTES) return this.#flush()
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = false
    if (this.#outgoing.length === 0) return
    const frame = `[${this.#outgoing.join(',')}]`
    this.#outgoing = []
    this.#outgoingBytes = 0
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(frame)
    if (this.#socket.bufferedAmount > MAX_QUEUED_BYTES) this.terminate()
  }

  #heard(): void {
    this.#lastHeardAt = performance.now()
  }

  /** True as well where the next look would come too late. */
  #silent(): boolean {
    return performance.now() - this.#lastHeardAt > SILENT_AFTER_MS - CHECK_EVERY_MS
  }

  #checkLiveness(): void {
    // Nobody has answered yet, which is the dial's matter; or we do not listen.
    if (this.#socket.readyState === WebSocket.CONNECTING) return
    if (this.#paused) this.#heard()
    if (this.#silent()) {
      // A process that was stopped for a while must read what waits in its socket before it judges the other side.
      setImmediate(() => {
        if (this.#silent()) this.terminate()
      })
      return
    }
    if (performance.now() - this.#pingedAt < PING_EVERY_MS - CHECK_EVERY_MS / 2) return
    this.#pingedAt = performance.now()
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.ping()
  }

  #receive(data: Buffer, isBinary: boolean): void {
    this.#heard()
    if (this.#closing) return
    if (isBinary) return this.close(CLOSE.BAD_FRAME, 'frames are text')
    this.#incoming.push(data)
    this.#incomingBytes += data.length
    if (this.#incomingBytes > MAX_QUEUED_BYTES) return this.close(CLOSE.BAD_FRAME, 'too much at once')
    if (this.#incomingBytes > PAUSE_BYTES && !this.#paused) {
      this.#paused = true
      this.#socket.pause()
    }
    if (this.#working) return
    this.#working = true
    // Not at once: what else is in this read, a ping above all, comes first.
    turns.add(() => this.#work())
  }

  /** Works off one frame; false: there is no other. */
  #work(): boolean {
    const data = this.#ended || this.#closing ? undefined : this.#incoming.shift()
    if (data) {
      this.#incomingBytes -= data.length
      this.#readFrame(data)
      if (this.#incoming.length > 0) return true
    }
    this.#working = false
    if (this.#paused) this.#resume()
    if (this.#gone) this.#end(this.#gone.code, this.#gone.reason)
    return false
  }

  #resume(): void {
    this.#paused = false
    this.#socket.resume()
  }

  #readFrame(data: Buffer): void {
    let frame: unknown
    try {
      frame = JSON.parse(data.toString('utf8'))
    } catch {
      return this.#bad('a frame is not JSON')
    }
    if (!Array.isArray(frame)) return this.#bad('a frame is not a list of messages')
    for (const message of frame as unknown[]) {
      if (this.#ended || this.#closing) return
      if (!Array.isArray(message) || typeof message[0] !== 'string')
        return this.#bad('a message is not [type, body]')
      this.#readMessage(message[0], message[1], message[2])
    }
  }

  #readMessage(type: string, body: unknown, number: unknown): void {
    if (type === '=' || type === '!') return this.#readAnswer(type === '=', body, number)
    const { receives, onNotice, onRequest } = this.#options
    if (number === undefined) {
      const check = receives.notices.get(type)
      if (!check) return this.#unknown(type)
      const problem = check(body)
      if (problem) return this.#bad(`${type}: ${problem}`)
      return this.#notice(() => onNotice[type as keyof In['notices']](body as never), type)
    }
    if (typeof number !== 'number') return this.#bad('a request number is a number')
    const check = receives.questions.get(type)
    if (!check) {
      this.#unknown(type)
      return this.#answerError(number, 'UNKNOWN_REQUEST', `"${type}" is not known here; update this side`)
    }
    const problem = check(body)
    if (problem) return this.#bad(`${type}: ${problem}`)
    void this.#answer(() => onRequest[type as keyof In['requests']](body as never), number)
  }

  /** Also where the handler throws before it returns a promise: the other side's requests never end this process. */
  async #answer(handle: () => Promise<unknown>, number: number): Promise<void> {
    try {
      this.#queue(JSON.stringify(['=', await handle(), number]))
    } catch (error) {
      this.#answerError(number, error instanceof SshoalError ? error.code : 'INTERNAL', errorText(error))
    }
  }

  /** A handler's own fault is logged and costs that message, never the process or the link. */
  #notice(handle: () => void, type: string): void {
    try {
      handle()
    } catch (error) {
      this.#options.log.error({ err: error, type }, 'a link message could not be handled')
    }
  }

  #answerError(number: number, code: string, error: string): void {
    this.#queue(JSON.stringify(['!', { code, error }, number]))
  }

  #readAnswer(good: boolean, body: unknown, number: unknown): void {
    const pending = typeof number === 'number' ? this.#pending.get(number) : undefined
    if (!pending) return // it came after its deadline
    this.#pending.delete(number as number)
    clearTimeout(pending.timer)
    if (!good) {
      const { code, error } = (body ?? {}) as { code?: string; error?: string }
      return pending.reject(new SshoalError(code ?? 'INTERNAL', error ?? 'no reason given'))
    }
    const problem = this.#options.sends.answers.get(pending.type)?.(body)
    if (!problem) return pending.resolve(body)
    pending.reject(new SshoalError('BAD_FRAME', `${pending.type}: ${problem}`))
    this.#bad(`answer to ${pending.type}: ${problem}`)
  }

  #unknown(type: string): void {
    this.unknownMessages++
    this.#options.log.debug({ type: type.slice(0, 60) }, 'unknown message ignored')
  }

  #bad(reason: string): void {
    this.#options.log.warn({ reason }, 'bad frame')
    this.close(CLOSE.BAD_FRAME, reason)
  }

  #end(code: number, reason: string): void {
    if (this.#ended) return
    this.#ended = true
    clearInterval(this.#liveness)
    this.#incoming = []
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer)
      pending.reject(new SshoalError('LINK_LOST', `${pending.type}: the link ended before the answer`))
    }
    this.#pending.clear()
    this.#options.onClose({ code, reason })
  }
}
