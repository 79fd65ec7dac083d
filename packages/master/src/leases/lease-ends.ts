// When which lease is due: a heap by moment, looked at several times a second by the cluster's clock, so that a clock that
// is set right counts at once. An entry names a lease and its moment; one that was extended or replaced has another.

interface Due {
  at: number
  id: string
}

export class LeaseEnds {
  #heap: Due[] = []

  get size(): number {
    return this.#heap.length
  }

  add(id: string, at: number): void {
    const heap = this.#heap
    let child = heap.push({ at, id }) - 1
    while (child > 0) {
      const parent = (child - 1) >>> 1
      if (!this.#before(child, parent)) return
      this.#swap(child, parent)
      child = parent
    }
  }

  /** Takes out everything that is due, earliest first. */
  *due(now: number): IterableIterator<Due> {
    for (let first = this.#heap[0]; first && first.at <= now; first = this.#heap[0]) {
      this.#shift()
      yield first
    }
  }

  #shift(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (!last || heap.length === 0) return
    heap[0] = last
    for (let parent = 0; ;) {
      const [left, right] = [2 * parent + 1, 2 * parent + 2]
      let least = parent
      if (left < heap.length && this.#before(left, least)) least = left
      if (right < heap.length && this.#before(right, least)) least = right
      if (least === parent) return
      this.#swap(parent, least)
      parent = least
    }
  }

  #before(a: number, b: number): boolean {
    return (this.#heap[a]?.at ?? Infinity) < (this.#heap[b]?.at ?? Infinity)
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap
    const [left, right] = [heap[a], heap[b]]
    if (left && right) {
      heap[a] = right
      heap[b] = left
    }
  }
}
