// Which hook `--hook` means: nothing (the registry), `authorized_keys:FILE`, a URL, or a file with code.
import { SshoalError, type Log } from '@sshoal/shared'

import type { Cluster } from '../cluster/cluster.ts'
import type { Registry } from '../registry/registry.ts'
import { authorizedKeysHook } from './authorized-keys-hook.ts'
import type { Hook, ValidateDevice } from './hook.ts'
import { loadHook } from './load-hook.ts'
import { storeHook } from './store-hook.ts'
import { webHook } from './web-hook.ts'

export interface OpenHookDeps {
  registry: Pick<Registry, 'byFingerprint'>
  cluster: Pick<Cluster, 'invalidate'>
  log: Log
  /** For a web hook: `--hook-secret`. */
  secret?: string | undefined
  /** For a web hook: plain http to other machines. */
  insecure?: boolean
}

const AUTHORIZED_KEYS = 'authorized_keys:'

/** `hook`: what the flag says, or a function from code. Throws HOOK_LOAD_FAILED. */
export async function openHook(hook: string | ValidateDevice | undefined, deps: OpenHookDeps): Promise<Hook> {
  if (hook === undefined || hook === 'store') return storeHook(deps.registry)
  if (typeof hook === 'function') return codeHook(hook)
  if (hook.startsWith(AUTHORIZED_KEYS)) return authorizedKeysHook(hook.slice(AUTHORIZED_KEYS.length), deps)
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(hook))
    return webHook(hook, { secret: deps.secret, insecure: deps.insecure === true })
  if (hook === '') throw new SshoalError('HOOK_LOAD_FAILED', '--hook is empty')
  return loadHook(hook, deps.log)
}

/** Whether the registry decides by itself, or another hook beside it. */
export function hookAuthority(hook: string | ValidateDevice | undefined): 'store' | 'hook' {
  return hook === undefined || hook === 'store' ? 'store' : 'hook'
}

function codeHook(validate_device: ValidateDevice): Hook {
  return { name: 'code', validate_device, reload: async () => {}, close: async () => {} }
}
