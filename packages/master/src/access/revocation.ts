// What follows when somebody may do less than before: slaves forget the keys of those whom it concerns, ask again for their
// logins and their visits, and cut what is now refused. The change has numbered it already (ledger.ts).
import { errorText, type Log } from '@sshoal/shared'

import type { Cluster } from '../cluster/cluster.ts'
import type { Directory } from './directory.ts'
import { userRef, type User } from './user.ts'

/** Beyond, everybody is asked again: the list would be longer than the asking (the wire takes as many). */
const MAX_FINGERPRINTS = 10_000
const AT_ONCE = 100

export class Revocation {
  readonly #directory: Directory
  readonly #cluster: Pick<Cluster, 'invalidate'>
  readonly #log: Log

  constructor(directory: Directory, cluster: Pick<Cluster, 'invalidate'>, log: Log) {
    this.#directory = directory
    this.#cluster = cluster
    this.#log = log
  }

  /** All who have a grant on one of these. Resolves with the number of what was cut, when the linked slaves have done it. */
  async on(project: string, ids: readonly string[], number: number | undefined): Promise<number> {
    const users = new Set<string>()
    for (const id of ids) for (const { user } of await this.#directory.grantsOn(project, id)) users.add(user)
    return this.of(project, users, number)
  }

  /** These users, by id. */
  async of(project: string, users: Iterable<string>, number: number | undefined): Promise<number> {
    const ids = [...users]
    const fingerprints: string[] = []
    for (let at = 0; at < ids.length && fingerprints.length <= MAX_FINGERPRINTS; at += AT_ONCE) {
      const found = await Promise.all(
        ids.slice(at, at + AT_ONCE).map((id) => this.#directory.store.get<User>(userRef(project, id))),
      )
      for (const user of found)
        fingerprints.push(...(user?.value.keys ?? []).map(({ fingerprint }) => fingerprint))
    }
    return this.keys(fingerprints, number)
  }

  /** A number without keys is told too: who waits for it would else take it for a lost one, and ask again for everybody. */
  async keys(fingerprints: readonly string[], number: number | undefined): Promise<number> {
    if (fingerprints.length === 0 && number === undefined) return 0
    try {
      return await this.#cluster.invalidate(
        fingerprints.length > MAX_FINGERPRINTS ? null : [...new Set(fingerprints)],
        number,
      )
    } catch (error) {
      // The change itself is durable; slaves that missed the number ask again for everybody when they come back.
      this.#log.error({ err: error, reason: errorText(error) }, 'an invalidation did not reach the slaves')
      return 0
    }
  }
}
