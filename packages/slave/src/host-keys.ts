// The slave's host keys: read from their files, made at first start with mode 0600, never shown.
import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

import { errorText, SshoalError } from '@sshoal/shared'

import { generateHostKey, hostKeyPublic } from './ssh2/index.ts'

export interface HostKeys {
  /** Private keys in OpenSSH or PEM form. */
  privateKeys: string[]
  publicKeys: { algorithm: string; publicKey: string }[]
}

/** Reads every file, making those that are missing (ed25519). Throws HOST_KEY_UNUSABLE with the file's name. */
export function loadHostKeys(files: readonly string[]): HostKeys {
  const privateKeys = files.map((file) => readOrMake(file))
  const publicKeys = privateKeys.map((key, index) => {
    try {
      const { algorithm, publicKey } = hostKeyPublic(key)
      return { algorithm, publicKey: publicKey.toString('base64') }
    } catch (error) {
      throw new SshoalError(
        'HOST_KEY_UNUSABLE',
        `${files[index]} is not a private key without passphrase: ${errorText(error)}`,
        {
          cause: error,
        },
      )
    }
  })
  return { privateKeys, publicKeys }
}

function readOrMake(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unusable(file, error)
  }
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    // A link cannot replace: of two processes that start together one makes the key, and the other reads all of it.
    const draft = `${file}.${process.pid}`
    writeFileSync(draft, generateHostKey('ed25519'), { mode: 0o600 })
    try {
      linkSync(draft, file)
    } finally {
      unlinkSync(draft)
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw unusable(file, error)
  }
  return readFileSync(file, 'utf8')
}

function unusable(file: string, cause: unknown): SshoalError {
  return new SshoalError('HOST_KEY_UNUSABLE', `cannot use the host key ${file}: ${errorText(cause)}`, {
    cause,
  })
}
