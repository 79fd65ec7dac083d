// An export as a file that only its owner reads: keys of devices and hashes of tokens are in it.
import { open, rename, rm } from 'node:fs/promises'

import { errorText, SshoalError } from '@sshoal/shared'

/** Beside, then renamed: there is a whole export or none. Throws EXPORT_FILE; what the lines throw goes through. */
export async function saveExport(path: string, lines: AsyncIterable<string>): Promise<void> {
  const part = `${path}.part`
  try {
    await rm(part, { force: true })
    const file = await open(part, 'wx', 0o600)
    try {
      let text = ''
      for await (const line of lines) {
        text += `${line}\n`
        if (text.length < 65_536) continue
        await file.appendFile(text)
        text = ''
      }
      await file.appendFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(part, path)
  } catch (error) {
    await rm(part, { force: true }).catch(() => {})
    throw fileError(path, error)
  }
}

/** Its lines, for `importStore`. Throws EXPORT_FILE. */
export async function* readExport(path: string): AsyncGenerator<string, void> {
  try {
    const file = await open(path)
    for await (const line of file.readLines()) yield line
  } catch (error) {
    throw fileError(path, error)
  }
}

function fileError(path: string, error: unknown): SshoalError {
  if (error instanceof SshoalError) return error
  return new SshoalError('EXPORT_FILE', `${path}: ${errorText(error)}`, { cause: error })
}
