// The feed over Redis: changes go through one script that fences them and appends them to a stream; every master reads the
// stream, notices a gap by its numbers and then reads the whole again. While Redis is away nothing is told and everything
// goes on; when it is back, everybody says again what is linked to him.
import { SshoalError, type Log, type SlaveStatus, type Tunnel } from '@sshoal/shared'
import type { Cluster, Redis } from 'ioredis'

import type { MasterView } from '../cluster.ts'
import type {
  Answer,
  ClusterFeed,
  FeedChange,
  FeedListener,
  FeedSnapshot,
  Question,
  SlaveFacts,
  SlaveRequest,
  SlotCandidate,
} from './cluster-feed.ts'
import { scriptWords } from './feed-message.ts'
import { APPLY, LIFE_MS, RENEW, RESERVE } from './feed-scripts.ts'
import { MasterCalls } from './master-calls.ts'
import { SlotDesk } from './slot-desk.ts'

const RENEW_EVERY_MS = 2_000
const RETRY_MS = 500
const CONNECT_MS = 5_000
const BATCH = 500
const READ_BLOCK_MS = 1_000
const READ_COUNT = 500
/** After Redis was away, the others need time to say again what they hold before anything is swept. */
const NO_SWEEP_MS = LIFE_MS + 2_000
const DEFAULT_STATUS: SlaveStatus = { load: 0, visits: 0, connections: 0 }

export type FeedRedis = Redis | Cluster

export interface RedisFeedOptions {
  master: { id: string; version: string }
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
  #queue: string[] = []
  #flushing = false
  #away = true
  #closed = false
  #offsetMicros = 0
  #noSweepUntil = 0
  #others: MasterView[] = []
  #renewing: NodeJS.Timeout | undefined
  #lastId = '0-0'
  #lastSeq = 0
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
    this.#desk = new SlotDesk((words) =>
      this.#redis.eval(RESERVE, 1, this.#keys, options.master.id, ...words),
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
    await this.#ears.subscribe(this.#calls.channel())
    this.#noSweepUntil = performance.now() + NO_SWEEP_MS
    await this.#comeBack()
    this.#renewing = setInterval(() => void this.#renew(), RENEW_EVERY_MS)
    void this.#read()
  }

  publish(change: FeedChange): void {
    if (change.type === 'joining') this.#own.set(change.slave, change.link)
    else if (change.type === 'gone' && this.#own.get(change.slave) === change.link)
      this.#own.delete(change.slave)
    if (this.#away || this.#closed) return
    this.#queue.push(...scriptWords(change, this.#options.master.id))
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(() => this.#flush())
  }

  reserve(wish: string, candidates: readonly SlotCandidate[]): Promise<string | undefined> | undefined {
    return this.#away ? undefined : this.#desk.ask(wish, candidates)
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

  async close(): Promise<void> {
    if (this.#closed) return
    this.#flush()
    this.#closed = true
    clearInterval(this.#renewing)
    clearTimeout(this.#repeating)
    this.#calls.close()
    const { id } = this.#options.master
    await Promise.race([
      this.#redis
        .multi()
        .zrem(`${this.#keys}masters`, id)
        .hdel(`${this.#keys}infos`, id)
        .exec()
        .catch(() => undefined),
      new Promise((resolve) => setTimeout(resolve, 500)),
    ])
    for (const redis of [this.#redis, this.#reader, this.#ears]) redis.disconnect()
  }

  #flush(): void {
    this.#flushing = false
    const words = this.#queue
    this.#queue = []
    // Six words a change; a script of thousands would hold up everybody else.
    for (let start = 0; start < words.length; start += 6 * BATCH) {
      this.#redis
        .eval(APPLY, 1, this.#keys, this.#options.master.id, ...words.slice(start, start + 6 * BATCH))
        .then(
          (unknown) => {
            if (Array.isArray(unknown) && unknown.length > 0) this.#sayAgain()
          },
          (error: unknown) => this.#lost(error),
        )
    }
  }

  /** Redis does not know a slave that is linked here: it lost it, or swept it while we were stopped. */
  #sayAgain(): void {
    this.#repeating ??= setTimeout(() => {
      this.#repeating = undefined
      if (!this.#away && !this.#closed) this.#listener?.onReturn()
    }, RETRY_MS)
  }

  #lost(error: unknown): void {
    if (this.#away || this.#closed) return
    this.#away = true
    this.#options.log.warn({ err: error }, 'Redis is away: the view goes on from memory')
    setTimeout(() => void this.#retry(), RETRY_MS)
  }

  async #retry(): Promise<void> {
    if (this.#closed) return
    try {
      await this.#connected()
      await this.#redis.ping()
      this.#noSweepUntil = performance.now() + NO_SWEEP_MS
      await this.#comeBack()
      this.#options.log.info('Redis is back')
    } catch {
      setTimeout(() => void this.#retry(), RETRY_MS)
    }
  }

  /** All three connections stand; rejects with REDIS_AWAY when they do not within 5 s. */
  async #connected(): Promise<void> {
    await Promise.all([this.#redis, this.#reader, this.#ears].map(connected))
  }

  /** Ours first, so that nobody misses it; then what the others hold. */
  async #comeBack(): Promise<void> {
    this.#away = false
    try {
      await this.#renew({ throwing: true })
      this.#listener?.onReturn()
      await this.#resync()
    } catch (error) {
      this.#away = true
      throw error
    }
  }

  async #renew({ throwing = false } = {}): Promise<void> {
    if (this.#away) return
    const { id, version } = this.#options.master
    const info = JSON.stringify({ id, version, startedAt: this.#startedAt })
    const sweep = performance.now() > this.#noSweepUntil ? '1' : '0'
    const askedAt = Date.now()
    try {
      const answer = (await this.#redis.eval(
        RENEW,
        1,
        this.#keys,
        id,
        info,
        sweep,
        ...[...this.#own].flat(),
      )) as [string, string, string[], string[]]
      const [seconds, micros, infos, missing] = answer
      const between = (askedAt + Date.now()) / 2
      this.#offsetMicros = Math.round(Number(seconds) * 1e6 + Number(micros) - between * 1_000)
      this.#others = infos.flatMap((text) => otherMaster(text, id))
      if (missing.length > 0) this.#sayAgain()
    } catch (error) {
      if (throwing) throw error
      this.#lost(error)
    }
  }

  /** Where the stream stands first, then what stands: a change in between is heard twice, which changes nothing. */
  async #resync(): Promise<void> {
    const [last] = await this.#redis.xrevrange(`${this.#keys}stream`, '+', '-', 'COUNT', 1)
    this.#lastId = last?.[0] ?? '0-0'
    this.#lastSeq = last ? Number(fieldsOf(last[1]).s) : 0
    this.#listener?.onSnapshot(await this.#snapshot())
  }

  async #snapshot(): Promise<FeedSnapshot> {
    const [facts, links, status] = await Promise.all(
      ['facts', 'links', 'status'].map((name) => this.#redis.hgetall(`${this.#keys}${name}`)),
    )
    const slaves: FeedSnapshot['slaves'] = []
    for (const [slave, text] of Object.entries(facts ?? {})) {
      const { master, ...own } = JSON.parse(text) as SlaveFacts & { master: string }
      if (master === this.#options.master.id) continue
      const tunnels = await this.#redis.hvals(`${this.#keys}tunnels:${slave}`)
      slaves.push({
        slave,
        link: links?.[slave]?.split(' ')[1] ?? '',
        master,
        facts: own,
        status: status?.[slave] === undefined ? DEFAULT_STATUS : (JSON.parse(status[slave]) as SlaveStatus),
        tunnels: tunnels.map((tunnel) => JSON.parse(tunnel) as Tunnel),
      })
    }
    return { slaves }
  }

  async #read(): Promise<void> {
    while (!this.#closed) {
      if (this.#away) {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
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
          this.#lastId,
        )
        for (const [id, fields] of answer?.[0]?.[1] ?? [])
          if (!(await this.#onEntry(id, fieldsOf(fields)))) break
      } catch (error) {
        if (!this.#closed) this.#lost(error)
      }
    }
  }

  /** False: something was missed, and the whole was read instead. */
  async #onEntry(
    id: string,
    { m: master = '', s: seq = '0', c: changes = '[]' }: Record<string, string>,
  ): Promise<boolean> {
    if (this.#lastSeq !== 0 && Number(seq) !== this.#lastSeq + 1) {
      this.#options.log.warn({ expected: this.#lastSeq + 1, seq }, 'a stretch of the feed was missed')
      await this.#resync()
      return false
    }
    this.#lastId = id
    this.#lastSeq = Number(seq)
    if (master === this.#options.master.id) return true
    for (const change of JSON.parse(changes) as FeedChange[]) this.#listener?.onChange(change, master)
    return true
  }
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
  const { id, version, startedAt } = JSON.parse(text || '{}') as {
    id?: string
    version?: string
    startedAt?: number
  }
  if (id === undefined || id === self) return []
  return [
    {
      id,
      version: version ?? '',
      uptimeSeconds: Math.max(0, Math.round((Date.now() - (startedAt ?? 0)) / 1_000)),
    },
  ]
}
