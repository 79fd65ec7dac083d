// The hook as an HTTP call: one signed POST per question. 200 with JSON is the answer, 404 and 403 are refusals,
// everything else is an outage. The request names address and slave, so its answers hold for them alone unless
// `cacheSeconds` says how long they may be kept.
import { createHmac } from 'node:crypto'

import { isLoopback, SshoalError } from '@sshoal/shared'

import type { Hook, HookAnswer, HookResult } from './hook.ts'

export interface WebHookOptions {
  /** Signs every request; undefined: no signature. */
  secret?: string | undefined
  /** Plain http to other machines; default false. */
  insecure?: boolean
  /** ms since 1970. */
  now?: () => number
}

const MAX_BODY_BYTES = 64 * 1024

/** Throws HOOK_LOAD_FAILED for a URL that is none, and for plain http beyond this machine. */
export function webHook(url: string, options: WebHookOptions = {}): Hook {
  if (!URL.canParse(url)) throw refuse(url, 'it is not a URL')
  const { protocol, hostname } = new URL(url)
  const isHere = isLoopback(hostname.replace(/^\[|\]$/g, ''))
  if (protocol !== 'https:' && !(protocol === 'http:' && (isHere || options.insecure === true)))
    throw refuse(url, 'public keys and answers travel over https; plain http only on this machine')
  const now = options.now ?? Date.now
  return {
    name: url,
    validate_device: async (publicKey, context): Promise<HookResult> => {
      const { algorithm, fingerprint, username, remoteAddress, slave } = context
      const body = JSON.stringify({ publicKey, algorithm, fingerprint, username, remoteAddress, slave })
      const headers: Record<string, string> = {
        'content-type': 'application/json',
        accept: 'application/json',
        'user-agent': 'sshoal',
      }
      if (options.secret !== undefined)
        headers['x-sshoal-signature'] = signWebHook(options.secret, Math.floor(now() / 1_000), body)
      // A redirect would carry the question elsewhere: it counts as an outage.
      const response = await fetch(url, {
        method: 'POST',
        headers,
        body,
        signal: context.signal,
        redirect: 'manual',
      })
      if (response.status === 404 || response.status === 403) {
        await response.body?.cancel()
        return undefined
      }
      if (response.status !== 200) {
        await response.body?.cancel()
        throw new SshoalError('HOOK_FAILED', `the web hook answered with status ${response.status}`)
      }
      return readAnswer(await readBody(response))
    },
    reload: async () => {},
    close: async () => {},
  }
}

/**
 * `t=<seconds since 1970>,v1=<hex>`: HMAC-SHA256 with the secret over `<seconds>.<body>`. The receiver computes the same,
 * compares in constant time and refuses times that are minutes away.
 */
export function signWebHook(secret: string, seconds: number, body: string): string {
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')}`
}

async function readBody(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES)
      throw new SshoalError('HOOK_FAILED', `the web hook answered with more than ${MAX_BODY_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function readAnswer(text: string): HookResult {
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text) as HookAnswer | null
  } catch (error) {
    throw new SshoalError('HOOK_FAILED', 'the web hook did not answer with JSON', { cause: error })
  }
}

function refuse(url: string, reason: string): SshoalError {
  return new SshoalError('HOOK_LOAD_FAILED', `cannot use "${url}" as a hook: ${reason}`)
}
