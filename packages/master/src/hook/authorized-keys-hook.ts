// The hook over an authorized_keys file: read at start, again whenever the file changes, and what is gone is cut.
// The folder is watched, not the file: editors and provisioning tools replace a file by renaming another over it.
import { watch, type FSWatcher } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'

import { errorText, SshoalError, type Log } from '@sshoal/shared'

import type { Cluster } from '../cluster/cluster.ts'
import { readAuthorizedKeys, type AuthorizedKey } from './authorized-keys.ts'
import type { Hook } from './hook.ts'

export interface AuthorizedKeysDeps {
  cluster: Pick<Cluster, 'invalidate'>
  log: Log
}

/** A file that is written in two steps is read once, when it has been quiet for so long. */
const SETTLE_MS = 50
/** Kubernetes changes a mounted file by turning this link beside it. */
const MOUNTED = '..data'

/** Throws HOOK_LOAD_FAILED where the file cannot be read at start; later the keys that were known stay. */
export async function authorizedKeysHook(file: string, deps: AuthorizedKeysDeps): Promise<Hook> {
  const hook = new AuthorizedKeysFile(resolve(file), deps)
  await hook.start()
  return hook
}

class AuthorizedKeysFile implements Hook {
  readonly name: string
  readonly #path: string
  readonly #deps: AuthorizedKeysDeps
  #keys = new Map<string, AuthorizedKey>()
  #watcher: FSWatcher | undefined
  #settling: NodeJS.Timeout | undefined
  #reading: Promise<void> = Promise.resolve()

  constructor(path: string, deps: AuthorizedKeysDeps) {
    this.#path = path
    this.#deps = deps
    this.name = `authorized_keys:${path}`
  }

  readonly validate_device: Hook['validate_device'] = (_publicKey, context) => {
    const key = this.#keys.get(context.fingerprint)
    return key && { client_key: key.device }
  }

  async start(): Promise<void> {
    try {
      // Watched before it is read: a change in between is seen.
      this.#watcher = watch(dirname(this.#path), (_event, name) => {
        if (name === null || name === basename(this.#path) || name === MOUNTED) this.#changed()
      })
      this.#watcher.on('error', (error) =>
        this.#deps.log.error(
          { err: error, file: this.#path },
          'the file is not watched any more; SIGHUP reads it',
        ),
      )
      this.#keys = this.#parse(await readFile(this.#path, 'utf8'))
    } catch (error) {
      this.#watcher?.close()
      throw new SshoalError('HOOK_LOAD_FAILED', `cannot read ${this.#path}: ${errorText(error)}`, {
        cause: error,
      })
    }
    this.#deps.log.info({ file: this.#path, keys: this.#keys.size }, 'authorized keys read')
  }

  reload(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#read())
    return this.#reading
  }

  async close(): Promise<void> {
    clearTimeout(this.#settling)
    this.#watcher?.close()
    await this.#reading
  }

  #changed(): void {
    clearTimeout(this.#settling)
    this.#settling = setTimeout(() => void this.reload(), SETTLE_MS)
  }

  async #read(): Promise<void> {
    let text: string
    try {
      text = await readFile(this.#path, 'utf8')
    } catch (error) {
      // A file that is away for a moment must not cut every device.
      this.#deps.log.error(
        { file: this.#path, reason: errorText(error) },
        'authorized keys could not be read; the ones before stay',
      )
      return
    }
    const before = this.#keys
    this.#keys = this.#parse(text)
    const changed = [...before.values()]
      .filter((key) => this.#keys.get(key.fingerprint)?.device !== key.device)
      .map(({ fingerprint }) => fingerprint)
    this.#deps.log.info(
      { file: this.#path, keys: this.#keys.size, removed: changed.length },
      'authorized keys read again',
    )
    if (changed.length === 0) return
    try {
      await this.#deps.cluster.invalidate(changed)
    } catch (error) {
      this.#deps.log.error({ err: error, keys: changed.length }, 'an invalidation did not reach the slaves')
    }
  }

  #parse(text: string): Map<string, AuthorizedKey> {
    const { keys, problems } = readAuthorizedKeys(text)
    for (const { line, reason } of problems)
      this.#deps.log.warn({ file: this.#path, line, reason }, 'a line of the authorized keys was skipped')
    return keys
  }
}
