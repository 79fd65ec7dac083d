// "Who is this key?" with leases: first the leases, then the hook. While the leases cannot be read, the hook's yes counts,
// and its no is an outage: the key may be a lease's.
import { errorText } from '@sshoal/shared'

import type { AskHook } from '../hook/ask-hook.ts'
import type { Leases } from './leases.ts'

/** Never rejects. */
export function withLeases(leases: Pick<Leases, 'who'>, askHook: AskHook): AskHook {
  return async (question) => {
    let failed: unknown
    try {
      const answer = await leases.who(question)
      if (answer) return answer
    } catch (error) {
      failed = error
    }
    const answer = await askHook(question)
    if (failed === undefined || answer.outcome !== 'refused') return answer
    return { outcome: 'outage', reason: `leases cannot be read: ${errorText(failed)}` }
  }
}
