// The feed over Redis: changes go through one script that fences them and appends them to a stream; every master reads the
// stream, notices a gap by its numbers and then reads the whole again. While Redis is away nothing is told and everything
// goes on; when it is back, everybody says again what is linked to him.
import { errorText, SshoalError, type Log, type Place } from '@sshoal/shared'

import type { RedisScript } from '../../store/redis-scripts.ts'
import type { MasterView } from '../cluster.ts'
import type {
  Answer,
  ClusterFeed,
  FeedChange,
  FeedListener,
  Question,
  SlaveRequest,
  SlotCandidate,
} from './cluster-feed.ts'
import { scriptWords } from './feed-message.ts'
import { APPLY, POSITION, RENEW, RESERVE } from './feed-scripts.ts'
import { readSnapshot, type FeedRedis } from './feed-snapshot.ts'
import { MasterCalls } from './master-calls.ts'
import { SlotDesk } from './slot-desk.ts'

const RENEW_EVERY_MS = 2_000
const RETRY_MS = 500
const CONNECT_MS = 5_000
const BATCH = 500
const READ_BLOCK_MS = 1_000
/** Between two looks whether there is something to read again. */
const WAIT_MS = 50
const CLOSE_MS = 500
const READ_COUNT = 100
/** After so long at work the feed lets others have a turn. */
const TURN_MS = 20

export interface RedisFeedOptions {
  /** `place`: known when it listens. */
  master: { id: string; version: string; place?: Place }
  /** Of all keys, without braces (`--redis-prefix`). */
  prefix: string
  /** A connection of its own at each call; commands fail within seconds while Redis is away, and nothing queues. */
  connect(): FeedRedis
  log: Log
}

export class RedisFeed implements ClusterFeed {
  readonly #options: RedisFeedOptions
  readonly #redis: FeedRedis
  /** Waits for the stream. */
  readonly #reader: FeedRedis
  /** Hears calls of other masters. */
  readonly #ears: FeedRedis
  readonly #calls: MasterCalls
  readonly #desk: SlotDesk
  readonly #startedAt = Date.now()
  /** What the feed's keys begin with. */
  readonly #keys: string
  #listener: FeedListener | undefined
  /** Links that this master registered, by slave: what `renew` keeps alive. */
  readonly #own = new Map<string, string>()
  #queue: FeedChange[] = []
  /** What is said again, as far as it was not sent yet. */
  #holdings: Iterator<FeedChange> | undefined
  #flushing: Promise<void> | undefined
  #away = true
  #closed = false
  #closing: Promise<void> | undefined
  #offsetMicros = 0
  #others: MasterView[] = []
  #renewing: NodeJS.Timeout | undefined
  #retrying: NodeJS.Timeout | undefined
  /** Where we are in the stream; undefined while the whole is read: a change that is heard meanwhile would be undone by it. */
  #position: { id: string; seq: number } | undefined
  /** Slaves that Redis does not know although they are linked here. */
  readonly #unknown = new Set<string>()
  #repeating: NodeJS.Timeout | undefined

  constructor(options: RedisFeedOptions) {
    this.#options = options
    this.#keys = `{${options.prefix}}:live:`
    this.#redis = options.connect()
    this.#reader = options.connect()
    this.#ears = options.connect()
    for (const redis of [this.#redis, this.#reader, this.#ears])
      redis.on('error', (error) => options.log.debug({ err: error }, 'redis connection error'))
    this.#calls = new MasterCalls(options.master.id, this.#redis, this.#keys)
    this.#desk = new SlotDesk(
      (words) => this.#run(RESERVE, [options.master.id, ...words]),
      () => this.nowMicros(),
    )
  }

  async start(listener: FeedListener): Promise<void> {
    this.#listener = listener
    this.#ears.on('message', (_channel: string, text: string) => {
      try {
        this.#calls.receive(text, listener)
      } catch (error) {
        this.#options.log.warn({ err: error }, 'a call of another master could not be read')
      }
    })
    await this.#connected()
    await this.#comeBack()
    this.#renewing = setInterval(() => void this.#renew(), RENEW_EVERY_MS)
    void this.#read()
  }

  publish(change: FeedChange): void {
    if (change.type === 'joining') this.#own.set(change.slave, change.link)
    else if (change.type === 'gone' && this.#own.get(change.slave) === change.link)
      this.#own.delete(change.slave)
    if (this.#away || this.#closed) return
    this.#queue.push(change)
    this.#wake()
  }

  reserve(
    wish: string,
    candidates: (count: number) => readonly SlotCandidate[],
  ): Promise<string | undefined> | undefined {
    return this.#away || this.#closed ? undefined : this.#desk.ask(wish, candidates)
  }

  async request<T extends SlaveRequest>(
    master: string,
    slave: string,
    type: T,
    question: Question<T>,
    deadlineMs: number,
  ): Promise<Answer<T>> {
    if (this.#away)
      throw new SshoalError(
        'LINK_LOST',
        `${type}: Redis is away, and the slave ${slave} is linked to another master`,
      )
    return (await this.#calls.call(master, slave, type, question, deadlineMs)) as Answer<T>
  }

  nowMicros(): number {
    return Date.now() * 1_000 + this.#offsetMicros
  }

  others(): MasterView[] {
    return this.#others
  }

  get away(): boolean {
    return this.#away
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    clearInterval(this.#renewing)
    clearTimeout(this.#repeating)
    clearTimeout(this.#retrying)
    this.#holdings = undefined
    await Promise.race([this.#farewell(), new Promise((resolve) => setTimeout(resolve, CLOSE_MS))])
    this.#closed = true
    this.#calls.close()
    for (const redis of [this.#redis, this.#reader, this.#ears]) redis.disconnect()
  }

  /** What is still to be said, then that this master is gone. */
  async #farewell(): Promise<void> {
    const { id } = this.#options.master
    if (this.#away) return
    await this.#flushing
    try {
      await this.#redis.multi().zrem(`${this.#keys}masters`, id).hdel(`${this.#keys}infos`, id).exec()
    } catch (error) {
      this.#options.log.debug({ err: error }, 'Redis did not hear that this master stops')
    }
  }

  /** By its hash; by its text where Redis has forgotten it, or never heard it. */
  async #run(script: RedisScript, args: (string | number)[]): Promise<unknown> {
    try {
      return await this.#redis.evalsha(script.sha, 1, this.#keys, ...args)
    } catch (error) {
      if (!errorText(error).startsWith('NOSCRIPT')) throw error
      return this.#redis.eval(script.text, 1, this.#keys, ...args)
    }
  }

  #wake(): void {
    // What one tick says travels together.
    this.#flushing ??= new Promise((resolve) => {
      setImmediate(() => void this.#flush().finally(resolve))
    })
  }

  /** One batch after another: Redis sets the pace, and a script of thousands would hold up everybody else. */
  async #flush(): Promise<void> {
    try {
      while (!this.#away && !this.#closed) {
        const batch = this.#nextBatch()
        if (batch.length === 0) break
        const { id } = this.#options.master
        const unknown = await this.#run(APPLY, [id, ...batch.flatMap((change) => scriptWords(change, id))])
        if (Array.isArray(unknown) && unknown.length > 0) this.#sayAgain(unknown.map(String))
      }
    } catch (error) {
      this.#lost(error)
    } finally {
      this.#flushing = undefined
    }
  }

  /** What happened goes before what is said again, which is read as it is when its turn comes. */
  #nextBatch(): FeedChange[] {
    const batch = this.#queue.splice(0, BATCH)
    while (batch.length < BATCH && this.#holdings) {
      const next = this.#holdings.next()
      if (next.done) this.#holdings = undefined
      else batch.push(next.value)
    }
    return batch
  }

  /** Redis does not know a slave that is linked here: it lost it, or swept it while we were stopped. */
  #sayAgain(slaves: string[]): void {
    for (const slave of slaves) this.#unknown.add(slave)
    this.#repeating ??= setTimeout(() => {
      this.#repeating = undefined
      const only = new Set(this.#unknown)
      this.#unknown.clear()
      if (this.#away) return
      const before = this.#holdings
      this.#holdings = before ? both(before, this.#listener?.holdings(only)) : this.#sayings(only)
      this.#wake()
    }, RETRY_MS)
  }

  #sayings(only?: ReadonlySet<string>): Iterator<FeedChange> | undefined {
    return this.#listener?.holdings(only)[Symbol.iterator]()
  }

  #lost(error: unknown): void {
    if (this.#away || this.#closed) return
    this.#away = true
    this.#position = undefined
    this.#queue = []
    this.#holdings = undefined
    this.#options.log.warn({ reason: errorText(error) }, 'Redis is away: the view goes on from memory')
    // A connection that does not answer may be half open, and what waits in it would only grow.
    if (errorText(error) === 'Command timed out')
      for (const redis of [this.#redis, this.#reader, this.#ears]) redis.disconnect(true)
    this.#retryLater()
  }

  #retryLater(): void {
    if (!this.#closing) this.#retrying = setTimeout(() => void this.#retry(), RETRY_MS)
  }

  async #retry(): Promise<void> {
    try {
      await this.#connected()
      await this.#comeBack()
      this.#options.log.info('Redis is back')
    } catch (error) {
      this.#options.log.debug({ reason: errorText(error) }, 'Redis is still away')
      this.#retryLater()
    }
  }

  /** All three connections stand; rejects with REDIS_AWAY when they do not within 5 s. */
  async #connected(): Promise<void> {
    await Promise.all([this.#redis, this.#reader, this.#ears].map(connected))
  }

  /** Ours first, so that nobody misses it; then what the others hold. */
  async #comeBack(): Promise<void> {
    await this.#ears.subscribe(this.#calls.channel())
    await this.#renewed()
    this.#away = false
    try {
      this.#holdings = this.#sayings()
      this.#wake()
      await this.#resync()
    } catch (error) {
      this.#away = true
      this.#queue = []
      this.#holdings = undefined
      throw error
    }
  }

  async #renew(): Promise<void> {
    if (this.#away) return
    try {
      await this.#renewed()
    } catch (error) {
      this.#lost(error)
    }
  }

  async #renewed(): Promise<void> {
    const { id, version, place } = this.#options.master
    const info = JSON.stringify({ id, version, startedAt: this.#startedAt, place })
    const own = [...this.#own]
    const askedAt = Date.now()
    const answer = (await this.#run(RENEW, [id, info, ...own.flat()])) as [
      string,
      string,
      string[],
      string[],
      string[],
      string[],
    ]
    const [seconds, micros, infos, missing, others, silent] = answer
    const between = (askedAt + Date.now()) / 2
    this.#offsetMicros = Math.round(Number(seconds) * 1e6 + Number(micros) - between * 1_000)
    this.#others = infos.flatMap((text) => otherMaster(text, id))
    for (const [slave, link] of own)
      if (others.includes(slave) && this.#own.get(slave) === link) this.#own.delete(slave)
    this.#listener?.onSilent(new Set(silent))
    if (missing.length > 0) this.#sayAgain(missing)
  }

  /** Where the stream stands first, then what stands: a change in between is heard behind it, which changes nothing. */
  async #resync(): Promise<void> {
    this.#position = undefined
    const [id, seq] = (await this.#run(POSITION, [])) as [string, string]
    this.#listener?.onSnapshot(await readSnapshot(this.#redis, this.#keys, this.#options.master.id))
    this.#position = { id, seq: Number(seq) }
  }

  async #read(): Promise<void> {
    while (!this.#closed) {
      const position = this.#position
      if (!position) {
        await new Promise((resolve) => setTimeout(resolve, WAIT_MS))
        continue
      }
      try {
        const answer = await this.#reader.xread(
          'COUNT',
          READ_COUNT,
          'BLOCK',
          READ_BLOCK_MS,
          'STREAMS',
          `${this.#keys}stream`,
          position.id,
        )
        await this.#hear(position, answer?.[0]?.[1] ?? [])
      } catch (error) {
        if (!this.#closed) this.#lost(error)
      }
    }
  }

  /** In order; stops where something was missed, and reads the whole instead. */
  async #hear(position: { id: string; seq: number }, entries: [string, string[]][]): Promise<void> {
    let begin = performance.now()
    for (const [id, flat] of entries) {
      if (performance.now() - begin > TURN_MS) {
        await new Promise((resolve) => setImmediate(resolve))
        begin = performance.now()
      }
      // The whole was read meanwhile, or Redis went away: this is old.
      if (this.#position !== position) return
      const { m: master = '', s: seq = '0', c: changes = '[]' } = fieldsOf(flat)
      if (Number(seq) !== position.seq + 1) {
        this.#options.log.warn({ expected: position.seq + 1, seq }, 'a stretch of the feed was missed')
        return this.#resync()
      }
      position.id = id
      position.seq++
      if (master === this.#options.master.id) continue
      for (const change of JSON.parse(changes) as FeedChange[]) this.#listener?.onChange(change, master)
    }
  }
}

function* both(first: Iterator<FeedChange>, second: Iterable<FeedChange> = []): Iterator<FeedChange> {
  for (let next = first.next(); !next.done; next = first.next()) yield next.value
  yield* second
}

function connected(redis: FeedRedis): Promise<void> {
  if (redis.status === 'ready') return Promise.resolve()
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      redis.off('ready', ready)
      reject(new SshoalError('REDIS_AWAY', `Redis does not answer within ${CONNECT_MS} ms`))
    }, CONNECT_MS)
    const ready = (): void => {
      clearTimeout(timer)
      resolve()
    }
    redis.once('ready', ready)
  })
}

function fieldsOf(flat: string[]): Record<string, string> {
  const fields: Record<string, string> = {}
  for (let i = 0; i + 1 < flat.length; i += 2) fields[flat[i] ?? ''] = flat[i + 1] ?? ''
  return fields
}

function otherMaster(text: string, self: string): MasterView[] {
  const { id, version, startedAt, place } = JSON.parse(text || '{}') as {
    id?: string
    version?: string
    startedAt?: number
    place?: Place
  }
  if (id === undefined || id === self) return []
  return [
    {
      id,
      version: version ?? '',
      uptimeSeconds: Math.max(0, Math.round((Date.now() - (startedAt ?? 0)) / 1_000)),
      ...(place ? { place } : {}),
    },
  ]
}
