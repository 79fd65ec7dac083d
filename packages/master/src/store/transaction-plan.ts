// What a transaction would change, or why it must not: pure, so that every embedded engine decides alike.
// Knows no engine; it reads through two functions that see one consistent state.
import type { Change, Claim, Conflict, Expectation, RecordRef } from './store.ts'

/** A record as it lies in the engine: its claims stay beside it, so that they go when it goes. */
export interface Body {
  value: unknown
  version: number
  claims: Claim[]
}

export interface State {
  record(ref: RecordRef): Body | undefined
  /** `scope`: a project, or `*`. */
  claim(kind: string, claim: Claim, scope: string): [project: string, id: string] | undefined
}

export interface Plan {
  records: Map<string, { ref: RecordRef; body: Body | undefined }>
  claims: Map<
    string,
    {
      key: [kind: string, index: string, value: string, scope: string]
      holder: [project: string, id: string] | undefined
    }
  >
}

export function planChanges(changes: Change[], state: State): Plan | { conflict: Conflict } {
  const plan: Plan = { records: new Map(), claims: new Map() }
  for (const change of changes) {
    const conflict = planChange(change, state, plan)
    if (conflict) return { conflict }
  }
  return plan
}

function planChange(change: Change, state: State, plan: Plan): Conflict | undefined {
  const { ref } = change
  const name = `${ref.kind}\0${ref.project}\0${ref.id}`
  const planned = plan.records.get(name)
  const old = planned ? planned.body : state.record(ref)
  const reason = unexpected(change.expect, old)
  if (reason) return { reason, ref }
  for (const claim of old?.claims ?? []) setClaim(plan, ref, claim, undefined)
  if (change.type === 'remove') {
    plan.records.set(name, { ref, body: undefined })
    return undefined
  }
  const claims = change.claims ?? []
  for (const claim of claims) {
    const by = holderOf(plan, state, ref, claim)
    if (by && (by[0] !== ref.project || by[1] !== ref.id))
      return { reason: 'taken', ref, claim, by: { kind: ref.kind, project: by[0], id: by[1] } }
    setClaim(plan, ref, claim, [ref.project, ref.id])
  }
  plan.records.set(name, { ref, body: { value: change.value, version: old?.version ?? 0, claims } })
  return undefined
}

function unexpected(
  expect: Expectation | undefined,
  old: Body | undefined,
): 'exists' | 'missing' | 'changed' | undefined {
  if (expect === undefined) return undefined
  if (expect === 'absent') return old ? 'exists' : undefined
  if (!old) return 'missing'
  return expect === 'present' || expect === old.version ? undefined : 'changed'
}

function holderOf(plan: Plan, state: State, ref: RecordRef, claim: Claim): [string, string] | undefined {
  const planned = plan.claims.get(claimName(ref, claim))
  return planned ? planned.holder : state.claim(ref.kind, claim, scopeOf(ref, claim))
}

function setClaim(plan: Plan, ref: RecordRef, claim: Claim, holder: [string, string] | undefined): void {
  const key: [string, string, string, string] = [ref.kind, claim.index, claim.value, scopeOf(ref, claim)]
  plan.claims.set(claimName(ref, claim), { key, holder })
}

function claimName(ref: RecordRef, claim: Claim): string {
  return [ref.kind, claim.index, claim.value, scopeOf(ref, claim)].join('\0')
}

function scopeOf(ref: RecordRef, claim: Claim): string {
  return claim.everywhere ? '*' : ref.project
}
