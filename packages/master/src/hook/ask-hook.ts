// Asks the hook who a key is, and never waits longer than the deadline. A refusal is the hook's word; everything that
// goes wrong on the way is an outage: never a penalty for the device, and an event for the operator.
import {
  errorText,
  parsePublicKeyBlob,
  SshoalError,
  type Log,
  type SshPublicKey,
  type WhoAnswer,
} from '@sshoal/shared'

import type { Events } from '../events/events.ts'
import type { RegionFallback } from '../options.ts'
import { Gateway } from './gateway.ts'
import { readHookAnswer } from './hook-answer.ts'
import type { HookContext, HookResult, ValidateDevice } from './hook.ts'

export interface HookQuestion {
  /** The wire form in base64. */
  publicKey: string
  username: string
  remoteAddress: string
  slave: string
  slaveRegion?: string | undefined
}

export interface AskHookDeps {
  validate_device: ValidateDevice
  events: Pick<Events, 'publish'>
  log: Log
  /** Other regions whose slaves may take a region's devices. */
  regionFallback: RegionFallback
  /** How many questions the hook gets at once. */
  concurrency: number
  /** ms, for waiting and answer together. */
  deadlineMs: number
  cacheTtlMs: number
  staleLimitMs: number
  /** The hook let this device in. */
  onKnown?: (project: string, device: string) => void
  /** Every answer, for the metrics. */
  onAnswer?: (outcome: WhoAnswer['outcome'], ms: number) => void
  /** ms since 1970. */
  now?: () => number
}

export type AskHook = (question: HookQuestion) => Promise<WhoAnswer>

/** The returned function never rejects. */
export function createAskHook(deps: AskHookDeps): AskHook {
  const gateway = new Gateway(deps.concurrency)
  const now = deps.now ?? Date.now
  return async (question) => {
    const startedAt = performance.now()
    const answer = await ask(question)
    deps.onAnswer?.(answer.outcome, performance.now() - startedAt)
    return answer
  }

  async function ask(question: HookQuestion): Promise<WhoAnswer> {
    let key: SshPublicKey
    try {
      key = parsePublicKeyBlob(question.publicKey)
    } catch (error) {
      return { outcome: 'refused', code: 'INVALID_KEY', reason: errorText(error) }
    }
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(), deps.deadlineMs)
    const { context, lookedAt } = watchedContext(question, key, deadline.signal)
    try {
      const result = await gateway.run(
        async () => deps.validate_device(question.publicKey, context),
        deadline.signal,
        () => new SshoalError('HOOK_DEADLINE', `no answer within ${deps.deadlineMs} ms`),
      )
      return judge(question, key, result, lookedAt())
    } catch (error) {
      return outage(question, key, errorText(error))
    } finally {
      clearTimeout(timer)
    }
  }

  function judge(
    question: HookQuestion,
    key: SshPublicKey,
    result: HookResult,
    addressBound: boolean,
  ): WhoAnswer {
    const answer = readHookAnswer(result, now())
    if (answer.outcome === 'malformed') return outage(question, key, `malformed answer: ${answer.reason}`)
    if (answer.outcome === 'refused') return answer
    const { role, region } = answer
    if (region !== undefined && !serves(question.slaveRegion, region))
      return {
        outcome: 'refused',
        code: 'WRONG_REGION',
        reason: `this device belongs to region ${region}; ask the master where to connect`,
      }
    deps.onKnown?.(role.project, role.device)
    const untilEnd = role.expiresAt === undefined ? Infinity : Math.max(0, role.expiresAt - now())
    const cacheMs = answer.cacheMs ?? (addressBound ? 0 : deps.cacheTtlMs)
    return {
      outcome: 'known',
      identity: { device: role },
      cacheMs: Math.min(cacheMs, untilEnd),
      staleMs: Math.min(deps.staleLimitMs, untilEnd),
      addressBound,
    }
  }

  function serves(slaveRegion: string | undefined, region: string): boolean {
    return (
      slaveRegion !== undefined && [region, ...(deps.regionFallback.get(region) ?? [])].includes(slaveRegion)
    )
  }

  function outage(question: HookQuestion, key: SshPublicKey, reason: string): WhoAnswer {
    const fields = { fingerprint: key.fingerprint, slave: question.slave }
    deps.log.warn({ ...fields, reason }, 'the hook failed')
    deps.events.publish('hook.failed', { ...fields, reason }, { source: question.slave, reason })
    return { outcome: 'outage', reason }
  }
}

/** A context that notices whether the answer can depend on where the question came from. */
function watchedContext(question: HookQuestion, key: SshPublicKey, signal: AbortSignal) {
  let looked = false
  const context: HookContext = {
    algorithm: key.algorithm,
    fingerprint: key.fingerprint,
    username: question.username,
    signal,
    get remoteAddress() {
      looked = true
      return question.remoteAddress
    },
    get slave() {
      looked = true
      return question.slave
    },
  }
  return { context, lookedAt: () => looked }
}
