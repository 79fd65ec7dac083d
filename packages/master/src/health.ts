// How the process feels, against limits: heap, the event loop's delay, work that waits. Says what is wrong in sentences.

export interface HealthLimits {
  /** Megabytes of heap. */
  memoryMB: number
  /** Mean delay of the event loop, ms. */
  delayMs: number
  /** Ends of leases that wait. */
  queue: number
}

export interface HealthReport {
  memoryMB: number
  eventLoopDelayMs: number
  queue: number
  problems: string[]
}

export interface HealthDeps {
  limits: HealthLimits
  queue(): number
  /** Bytes of heap in use. */
  heap?(): number
}

const SAMPLE_EVERY_MS = 100
/** The mean is over the last ten seconds. */
const SAMPLES = 100

export class Health {
  readonly #deps: HealthDeps
  readonly #delays: number[] = []
  readonly #timer: NodeJS.Timeout
  #expected = performance.now() + SAMPLE_EVERY_MS

  constructor(deps: HealthDeps) {
    this.#deps = deps
    this.#timer = setInterval(() => this.#sample(), SAMPLE_EVERY_MS)
    this.#timer.unref()
  }

  report(): HealthReport {
    const { limits } = this.#deps
    const bytes = this.#deps.heap?.() ?? process.memoryUsage().heapUsed
    const memoryMB = round(bytes / 1024 / 1024)
    // A loop that is blocked right now has not sampled it yet.
    const overdue = Math.max(0, performance.now() - this.#expected)
    const delays = overdue > SAMPLE_EVERY_MS ? [...this.#delays, overdue] : this.#delays
    const eventLoopDelayMs = round(delays.reduce((sum, delay) => sum + delay, 0) / Math.max(1, delays.length))
    const waiting = this.#deps.queue()
    const problems = [
      memoryMB > limits.memoryMB && `Using more than ${limits.memoryMB}MB of RAM/HEAP: ${memoryMB}`,
      eventLoopDelayMs > limits.delayMs &&
        `EventLoop blocked for more than ${limits.delayMs}ms: ${eventLoopDelayMs}`,
      waiting > limits.queue && `More than ${limits.queue} ends of leases wait: ${waiting}`,
    ].filter((problem) => problem !== false)
    return { memoryMB, eventLoopDelayMs, queue: waiting, problems }
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #sample(): void {
    const now = performance.now()
    this.#delays.push(Math.max(0, now - this.#expected))
    if (this.#delays.length > SAMPLES) this.#delays.shift()
    this.#expected = now + SAMPLE_EVERY_MS
  }
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
