// Every SSH connection of this slave, and which key each came in with, so that an invalidation finds them.
import type { ClientConnection } from './client-connection.ts'
import type { SlaveMetrics } from './metrics.ts'
import type { Refusal } from './refusal.ts'

/** Connections that are asked about at once when all are rechecked. */
const RECHECKS_AT_ONCE = 64

export class Connections {
  readonly #all = new Set<ClientConnection>()
  readonly #byKey = new Map<string, Set<ClientConnection>>()
  readonly #metrics: SlaveMetrics
  #unauthenticated = 0

  constructor(metrics: SlaveMetrics) {
    this.#metrics = metrics
  }

  get size(): number {
    return this.#all.size
  }

  get unauthenticated(): number {
    return this.#unauthenticated
  }

  came(connection: ClientConnection): void {
    this.#all.add(connection)
    this.#unauthenticated++
    this.#count()
  }

  ready(connection: ClientConnection): void {
    if (!this.#all.has(connection)) return
    this.#unauthenticated--
    const same = this.#byKey.get(connection.fingerprint)
    if (same) same.add(connection)
    else this.#byKey.set(connection.fingerprint, new Set([connection]))
    this.#count()
  }

  gone(connection: ClientConnection): void {
    if (!this.#all.delete(connection)) return
    if (!connection.authenticated) this.#unauthenticated--
    const same = this.#byKey.get(connection.fingerprint)
    same?.delete(connection)
    if (same?.size === 0) this.#byKey.delete(connection.fingerprint)
    this.#count()
  }

  /** Those that came in with this key. */
  ofKey(fingerprint: string): ClientConnection[] {
    return [...(this.#byKey.get(fingerprint) ?? [])]
  }

  /** Asks again about all connections of these keys (null: all); resolves with how many were cut. */
  async recheck(fingerprints: readonly string[] | null): Promise<number> {
    const found =
      fingerprints === null
        ? [...this.#all].filter((connection) => connection.authenticated)
        : fingerprints.flatMap((fingerprint) => [...(this.#byKey.get(fingerprint) ?? [])])
    let cut = 0
    let next = 0
    const worker = async (): Promise<void> => {
      for (let connection = found[next++]; connection; connection = found[next++])
        if ((await connection.recheck()) === 'cut') cut++
    }
    await Promise.all(Array.from({ length: Math.min(RECHECKS_AT_ONCE, found.length) }, worker))
    return cut
  }

  /** Tells all of them why they end; resolves when they are gone. Each ends within 1 s, or is destroyed. */
  async endAll(refusal: Refusal): Promise<void> {
    for (const connection of this.#all) connection.end(refusal)
    const deadline = performance.now() + 1_500
    while (this.size > 0 && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 20))
    for (const connection of this.#all) connection.ssh.destroy()
  }

  #count(): void {
    this.#metrics.connections.set({ state: 'authenticating' }, this.#unauthenticated)
    this.#metrics.connections.set({ state: 'authenticated' }, this.#all.size - this.#unauthenticated)
  }
}
