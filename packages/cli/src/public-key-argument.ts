// A public key as people hand it in on the command line: the line itself, or the file that holds it.
import { readFileSync } from 'node:fs'

import { errorText, parsePublicKeyLine, SshoalError } from '@sshoal/shared'

/** The OpenSSH line. Throws INVALID_KEY with what is wrong with it, UNREADABLE where there is no such file. */
export function readPublicKey(argument: string): string {
  const line = /^\S+ +AAAA/.test(argument.trim()) ? argument.trim() : readKeyFile(argument)
  try {
    parsePublicKeyLine(line)
  } catch (error) {
    throw new SshoalError('INVALID_KEY', `${argument.slice(0, 80)}: ${errorText(error)}`, { cause: error })
  }
  return line
}

function readKeyFile(path: string): string {
  try {
    const lines = readFileSync(path, 'utf8').split('\n')
    return lines.find((line) => line.trim() !== '' && !line.startsWith('#'))?.trim() ?? ''
  } catch (error) {
    throw new SshoalError(
      'UNREADABLE',
      `"${path}" is neither a public key nor a file with one: ${errorText(error)}`,
      {
        cause: error,
      },
    )
  }
}
