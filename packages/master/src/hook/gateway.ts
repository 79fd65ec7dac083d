// Lets a limited number of tasks run at once; the others wait in order. Each waits and runs until its signal fires:
// then its place is free again, even where the task never ends, so that a hanging hook cannot stop all others for good.

export class Gateway {
  readonly #limit: number
  readonly #waiting = new Set<() => void>()
  #running = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Rejects with what the task rejects with, or with `late()` when the signal fires first. */
  run<T>(task: () => Promise<T>, signal: AbortSignal, late: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      const start = (): void => {
        this.#running++
        signal.removeEventListener('abort', giveUp)
        let done = false
        const settle = (finish: () => void): void => {
          if (done) return
          done = true
          signal.removeEventListener('abort', expire)
          this.#leave()
          finish()
        }
        const expire = (): void => settle(() => reject(late()))
        signal.addEventListener('abort', expire, { once: true })
        task().then(
          (value) => settle(() => resolve(value)),
          (error: unknown) => settle(() => reject(error instanceof Error ? error : new Error(String(error)))),
        )
      }
      const giveUp = (): void => {
        this.#waiting.delete(start)
        reject(late())
      }
      if (signal.aborted) return reject(late())
      if (this.#running < this.#limit) return start()
      this.#waiting.add(start)
      signal.addEventListener('abort', giveUp, { once: true })
    })
  }

  #leave(): void {
    this.#running--
    const [next] = this.#waiting
    if (!next) return
    this.#waiting.delete(next)
    next()
  }
}
