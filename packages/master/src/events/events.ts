// What happened lately: a ring of events with rising ids, and who listens. Durable facts are in the store, not here.
// Knows no HTTP; what an event means is its publisher's matter.

export interface ClusterEvent {
  /** Rises with every event, over restarts too: never less than the clock in microseconds. */
  id: number
  /** `tunnel.up`, `slave.lost`, … */
  type: string
  /** RFC 3339. */
  at: string
  /** Undefined: concerns everybody. */
  project?: string
  data: object
}

/** Most events are read by nobody: what they tell may be put together when somebody does. */
export interface LateData {
  [LATE](): object
}
export const LATE = Symbol('data of an event, made when it is read')

export interface EventScope {
  project?: string
  /** With `reason`: folds to one event per type, source and reason a minute, with a `count`. */
  source?: string
  reason?: string
}

export interface EventsOptions {
  /** How many are kept. Default 100,000. */
  keep?: number
  /** How long, ms. Default 1 h. */
  keepMs?: number
  /** ms since 1970. */
  now?: () => number
}

interface Fold {
  type: string
  data: object
  project: string | undefined
  since: number
  /** How many came since the last one that was published. */
  waiting: number
}

export interface Replay {
  /** Events after the asked id were dropped, or the id is none of ours. */
  gap: boolean
  events: ClusterEvent[]
  /** The newest id that is gone: one who resumes from it misses nothing that is left. */
  goneUpTo: number
}

const FOLD_MS = 60_000
/** Beyond, all further sources of a type and reason fold together: a flood must not become memory. */
const MAX_FOLDS = 10_000

export class Events {
  readonly #keep: number
  readonly #keepMs: number
  readonly #now: () => number
  readonly #folds = new Map<string, Fold>()
  readonly #subscribers = new Set<(event: ClusterEvent) => void>()
  readonly #timer: NodeJS.Timeout
  /** A ring: `#first` is the place of the oldest; cut down in one go when half of it is gone. */
  #ring: KeptEvent[] = []
  #first = 0
  #lastId: number
  /** One text for all events of a millisecond. */
  #moment = ''
  #momentMs = NaN
  /** Everything up to here is gone: before the start of this process, or dropped from the ring. */
  #goneUpTo: number

  constructor(options: EventsOptions = {}) {
    this.#keep = options.keep ?? 100_000
    this.#keepMs = options.keepMs ?? 3_600_000
    this.#now = options.now ?? Date.now
    this.#lastId = this.#now() * 1_000
    this.#goneUpTo = this.#lastId
    this.#timer = setInterval(() => this.sweep(), 1_000)
    this.#timer.unref()
  }

  publish(type: string, data: object | LateData, scope: EventScope = {}): void {
    if (scope.source === undefined || scope.reason === undefined)
      return this.#append(type, data, scope.project)
    data = dataOf(data)
    const now = this.#now()
    let name = [type, scope.project, scope.source, scope.reason].join('\0')
    if (!this.#folds.has(name) && this.#folds.size >= MAX_FOLDS)
      name = [type, scope.project, '', scope.reason].join('\0')
    const fold = this.#folds.get(name)
    if (fold && now - fold.since < FOLD_MS) {
      fold.waiting++
      fold.data = data
      return
    }
    this.#folds.set(name, { type, data, project: scope.project, since: now, waiting: 0 })
    this.#append(type, { ...data, count: (fold?.waiting ?? 0) + 1 }, scope.project)
  }

  /** Where one stands who has seen everything. */
  get lastId(): number {
    return this.#lastId
  }

  /** What came after `id`, oldest first, at most `limit`. With a gap: from the oldest that is left. */
  after(id: number, limit: number): Replay {
    this.#expire()
    const gap = !Number.isSafeInteger(id) || id < this.#goneUpTo || id > this.#lastId
    const from = gap ? this.#first : this.#placeAfter(id)
    return { gap, events: this.#ring.slice(from, from + limit), goneUpTo: this.#goneUpTo }
  }

  /** Calls back with every event from now on, in order; must not throw. Returns what ends that. */
  subscribe(listener: (event: ClusterEvent) => void): () => void {
    this.#subscribers.add(listener)
    return () => this.#subscribers.delete(listener)
  }

  /** Publishes what was folded for a minute, drops what is too old. By itself once a second. */
  sweep(): void {
    const now = this.#now()
    for (const [name, fold] of this.#folds) {
      if (now - fold.since < FOLD_MS) continue
      if (fold.waiting === 0) {
        this.#folds.delete(name)
        continue
      }
      this.#append(fold.type, { ...fold.data, count: fold.waiting }, fold.project)
      fold.waiting = 0
      fold.since = now
    }
    this.#expire()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#subscribers.clear()
  }

  #placeAfter(id: number): number {
    let low = this.#first
    let high = this.#ring.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ring[middle]?.id ?? 0) <= id) low = middle + 1
      else high = middle
    }
    return low
  }

  #append(type: string, data: object | LateData, project: string | undefined): void {
    const now = this.#now()
    this.#lastId = Math.max(this.#lastId + 1, now * 1_000)
    if (now !== this.#momentMs) {
      this.#momentMs = now
      this.#moment = new Date(now).toISOString()
    }
    const event = new KeptEvent(this.#lastId, type, this.#moment, project, data)
    this.#ring.push(event)
    if (this.#ring.length - this.#first > this.#keep) this.#dropOldest()
    for (const subscriber of this.#subscribers) subscriber(event)
  }

  #expire(): void {
    const oldest = new Date(this.#now() - this.#keepMs).toISOString()
    while (this.#first < this.#ring.length && (this.#ring[this.#first]?.at ?? '') < oldest) this.#dropOldest()
  }

  #dropOldest(): void {
    this.#goneUpTo = this.#ring[this.#first]?.id ?? this.#goneUpTo
    this.#first++
    if (this.#first < 1_024 || this.#first * 2 < this.#ring.length) return
    this.#ring = this.#ring.slice(this.#first)
    this.#first = 0
  }
}

/** A hundred thousand of these stand in memory. */
class KeptEvent implements ClusterEvent {
  readonly id: number
  readonly type: string
  readonly at: string
  readonly project?: string
  readonly #data: object | LateData

  constructor(id: number, type: string, at: string, project: string | undefined, data: object | LateData) {
    this.id = id
    this.type = type
    this.at = at
    this.project = project as string
    this.#data = data
  }

  get data(): object {
    return dataOf(this.#data)
  }
}

export function dataOf(data: object | LateData): object {
  return LATE in data ? data[LATE]() : data
}
