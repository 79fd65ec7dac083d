// What a transaction's script says of the change that must not be, in the words of the store.
import { SshoalError } from '@sshoal/shared'

import { readName } from './redis-names.ts'
import type { Change, Conflict } from './store.ts'

/** `number` and `claimNumber` count from 1, as Lua does. Throws STORE_FAILED for what means nothing. */
export function conflictOf(
  changes: Change[],
  word: string,
  number: number,
  claimNumber: number,
  holder: string,
): Conflict {
  const change = changes[number - 1]
  if (!change)
    throw new SshoalError('STORE_FAILED', `the store says ${word} of a change that was not asked for`)
  const { ref } = change
  if (word === 'exists' || word === 'missing' || word === 'changed') return { reason: word, ref }
  const claim = change.type === 'put' ? change.claims?.[claimNumber - 1] : undefined
  if (word !== 'taken' || !claim)
    throw new SshoalError('STORE_FAILED', `the store says ${word}, which means nothing here`)
  return { reason: word, ref, claim, by: { kind: ref.kind, ...readName(holder) } }
}
