// A hook from a file of the user's: TypeScript or JavaScript, with whatever packages lie beside it.
// tsx reads both, in development and in the built product alike, and is loaded with the first hook; every load is a fresh
// instance of the file and its own imports.
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

import { errorText, SshoalError, type Log } from '@sshoal/shared'

import type { Hook, ValidateDevice } from './hook.ts'

const NAMESPACE = 'sshoal-hook-'

/** Throws HOOK_LOAD_FAILED: no such file, it cannot be read as a module, it exports no `validate_device`. */
export async function loadHook(file: string, log: Log): Promise<Hook> {
  const path = resolve(file)
  let current = await load(path)
  return {
    name: path,
    validate_device: (publicKey, context) => current(publicKey, context),
    reload: async () => {
      try {
        current = await load(path)
        log.info({ hook: path }, 'hook reloaded')
      } catch (error) {
        log.error(
          { hook: path, reason: errorText(error) },
          'the hook could not be reloaded; the old one stays',
        )
      }
    },
    close: async () => {},
  }
}

async function load(path: string): Promise<ValidateDevice> {
  if (!existsSync(path)) throw failed(path, 'there is no such file')
  let loaded: unknown
  try {
    const url = pathToFileURL(path).href
    const namespace = `${NAMESPACE}${randomUUID()}`
    forgetCommonJs()
    // A folder without "type": "module" is CommonJS to Node, whatever its files say; then its imports are `require`.
    const [{ register: registerCommonJs }, { register }] = await Promise.all([
      import('tsx/cjs/api'),
      import('tsx/esm/api'),
    ])
    registerCommonJs({ namespace })
    loaded = await register({ namespace }).import(url, url)
  } catch (error) {
    throw failed(path, errorText(error), error)
  }
  const found = findExport(loaded)
  if (!found) throw failed(path, 'it does not export a function validate_device')
  return found
}

/** Node finds a relative `require` again by folder and name alone, so what an earlier load left there must go. */
function forgetCommonJs(): void {
  const { cache } = createRequire(import.meta.url)
  for (const name of Object.keys(cache)) if (name.includes(`?namespace=${NAMESPACE}`)) delete cache[name]
}

/** Named, or on the default export; a CommonJS module's exports arrive one `default` deeper. */
function findExport(loaded: unknown): ValidateDevice | undefined {
  let scope = loaded
  for (let depth = 0; depth < 3; depth++) {
    if (typeof scope !== 'object' && typeof scope !== 'function') return undefined
    if (scope === null) return undefined
    const { validate_device, default: inner } = scope as { validate_device?: unknown; default?: unknown }
    if (typeof validate_device === 'function')
      return (publicKey, context) => (validate_device as ValidateDevice).call(scope, publicKey, context)
    scope = inner
  }
  return undefined
}

function failed(path: string, reason: string, cause?: unknown): SshoalError {
  return new SshoalError('HOOK_LOAD_FAILED', `cannot load the hook ${path}: ${reason}`, { cause })
}
