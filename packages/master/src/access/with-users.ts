// "Who is this key?" with people: what the hook says of a device, and beside it whose key it is. The two know nothing of each
// other: neither a refusal nor an outage of the hook keeps a person out, and no person's key makes a device.
import { DEFAULT_PROJECT, errorText, parsePublicKeyBlob, type UserRole, type WhoAnswer } from '@sshoal/shared'

import type { AskHook } from '../hook/ask-hook.ts'
import type { Store } from '../store/store.ts'
import type { Projects } from './projects.ts'
import { USER, type User } from './user.ts'

export interface WithUsersDeps {
  store: Pick<Store, 'find' | 'state'>
  projects: Pick<Projects, 'isClosed'>
  staleLimitMs: number
}

/** Never rejects. */
export function withUsers({ store, projects, staleLimitMs }: WithUsersDeps, ask: AskHook): AskHook {
  return async (question) => {
    const [answer, user] = await Promise.all([
      ask(question),
      roleOf(question).catch((error: unknown) => ({ failed: errorText(error) })),
    ])
    if (user === undefined) return answer
    if ('failed' in user) {
      // The device's role counts; that there is no user's is not known, so it is said and not kept.
      if (answer.outcome === 'known') return { ...answer, cacheMs: 0, usersOut: user.failed }
      return { outcome: 'outage', reason: `users cannot be read: ${user.failed}` }
    }
    if (answer.outcome === 'known') return { ...answer, identity: { ...answer.identity, user } }
    const known = { outcome: 'known', identity: { user }, cacheMs: 0, addressBound: false } as const
    // Only positive answers are kept: this one is a no about the device.
    if (answer.outcome === 'refused') return { ...known, staleMs: staleLimitMs }
    return { ...known, staleMs: 0, ...hookOut(answer) }
  }

  async function roleOf({
    publicKey,
    username,
  }: {
    publicKey: string
    username: string
  }): Promise<UserRole | undefined> {
    const fingerprint = fingerprintIn(publicKey)
    if (fingerprint === undefined) return undefined
    // Not after the store's own deadline: somebody waits at his login.
    if (store.state !== 'ok') throw new Error('the store does not answer')
    const found = await store.find<User>(USER, { index: 'fingerprint', value: fingerprint })
    const user = choose(
      found.map(({ value }) => value),
      username,
    )
    if (!user || (await projects.isClosed(user.project))) return undefined
    const label = user.keys.find((key) => key.fingerprint === fingerprint)?.label
    return {
      project: user.project,
      user: user.id,
      login: user.login,
      ...(label === undefined || label === '' ? {} : { keyLabel: label }),
    }
  }
}

/** A key that is in several projects says which by its login name, `anything+project`; without, it means `default`. */
function choose(users: User[], username: string): User | undefined {
  const [only, another] = users
  if (!another) return only
  const plus = username.lastIndexOf('+')
  const project = plus === -1 ? DEFAULT_PROJECT : username.slice(plus + 1)
  return users.find((user) => user.project === project)
}

/** A key that is too weak or malformed is nobody's. */
function fingerprintIn(publicKey: string): string | undefined {
  try {
    return parsePublicKeyBlob(publicKey).fingerprint
  } catch {
    return undefined
  }
}

/** That nothing is said about a device; what was known of it stands. */
function hookOut(answer: Extract<WhoAnswer, { outcome: 'outage' }>): { outage: string } {
  return { outage: answer.reason }
}
