// Writes what has gathered: every so often, whenever somebody asks, and once more at the end; never twice at once.
export class Flushing {
  readonly #write: () => Promise<void>
  readonly #timer: NodeJS.Timeout
  #last: Promise<void> = Promise.resolve()

  /** `write` takes what has gathered until then, and must not reject. */
  constructor(everyMs: number, write: () => Promise<void>) {
    this.#write = write
    this.#timer = setInterval(() => void this.flush(), everyMs)
    this.#timer.unref()
  }

  /** Resolves when what had gathered before was tried. */
  flush(): Promise<void> {
    this.#last = this.#last.then(this.#write)
    return this.#last
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.flush()
  }
}
