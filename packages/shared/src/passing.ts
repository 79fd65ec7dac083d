// A Map for what soon goes again: requests under way, logins that wait. Each time a Map grows or shrinks V8 gives it a new
// table, to which the old one points. Once one of them has reached the old space, every later one stays in memory with all
// that it names, long after it is gone from the Map, until the whole heap is collected. So this one begins a new Map now and then.

/** Entries that are set before it does; copying what stands is nothing against them. */
const RENEW_AFTER = 64

export class Passing<K, V> {
  #map = new Map<K, V>()
  #sets = 0

  get size(): number {
    return this.#map.size
  }

  get(key: K): V | undefined {
    return this.#map.get(key)
  }

  set(key: K, value: V): void {
    this.#map.set(key, value)
    if (++this.#sets < RENEW_AFTER + this.#map.size) return
    this.#sets = 0
    this.#map = new Map(this.#map)
  }

  delete(key: K): boolean {
    return this.#map.delete(key)
  }

  clear(): void {
    this.#map = new Map()
  }

  /** A copy: it may be changed meanwhile. */
  values(): V[] {
    return [...this.#map.values()]
  }
}
