// One at a time per name: those who want the same thing take turns here, so that the store's conditions rarely have to say no.

export class OneAtATime {
  readonly #last = new Map<string, Promise<unknown>>()

  take<T>(name: string, task: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(name) ?? Promise.resolve()).then(task, task)
    this.#last.set(name, turn)
    const leave = (): void => {
      if (this.#last.get(name) === turn) this.#last.delete(name)
    }
    turn.then(leave, leave)
    return turn
  }
}
