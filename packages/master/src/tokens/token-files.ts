// The two tokens of the first start, as files that only their owner reads: one for people, one for slaves.
// A file and the store always agree afterwards; whoever may write the data folder may be admin anyway.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { errorText, SshoalError } from '@sshoal/shared'

import { ALL_PROJECTS, readTokenText, type Role } from './token.ts'
import type { Tokens } from './tokens.ts'

export interface TokenFile {
  path: string
  /** `kept`: file and store agreed, or the store cannot be asked. `registered`: the file was there, the store was new. `made`: a new token. */
  state: 'kept' | 'registered' | 'made'
}

export interface TokenFiles {
  admin: TokenFile
  slave: TokenFile
}

/**
 * Makes or checks `dataDir`/admin-token and `dataDir`/slave-token (0600). A missing file, or one whose token was
 * revoked, gets a new token, and the one of that label before is revoked. `owner` is part of the label: masters that
 * share a store have a folder each, and never revoke each other's. Files that hold the same token are as good: they
 * are kept. Throws TOKEN_FILE, and STORE_CHANGED where the store is another one and a file is missing.
 */
export async function ensureTokenFiles(dataDir: string, tokens: Tokens, owner?: string): Promise<TokenFiles> {
  try {
    // Only a new store takes a file's word: in any other, a token that is missing was revoked.
    const isNew = !(await tokens.hasStarted())
    const files = {
      admin: await ensure(dataDir, 'admin', tokens, isNew, owner),
      slave: await ensure(dataDir, 'slave', tokens, isNew, owner),
    }
    await tokens.noteStarted()
    return files
  } catch (error) {
    const files = kept(dataDir)
    if (files && error instanceof SshoalError && error.code === 'STORE_CHANGED') {
      for (const role of ['admin', 'slave'] as const) {
        const given = readTokenText(read(files[role].path) ?? '')
        // Whoever reads it may say `sshoal store accept`; nobody else could be let in.
        if (given) tokens.believe(given, role)
      }
      return files
    }
    throw error
  }
}

/** Where the store cannot be asked: the files as they are, if both are there. */
function kept(dataDir: string): TokenFiles | undefined {
  const [admin, slave] = (['admin', 'slave'] as const).map((role) => join(dataDir, `${role}-token`))
  if (!admin || !slave || read(admin) === undefined || read(slave) === undefined) return undefined
  return { admin: { path: admin, state: 'kept' }, slave: { path: slave, state: 'kept' } }
}

async function ensure(
  dataDir: string,
  role: Role,
  tokens: Tokens,
  isNew: boolean,
  owner: string | undefined,
): Promise<TokenFile> {
  const name = `${role}-token`
  const label = owner === undefined ? name : `${name} ${owner}`
  const path = join(dataDir, name)
  const text = read(path)
  if (text !== undefined) {
    const given = readTokenText(text)
    if (!given)
      throw new SshoalError('TOKEN_FILE', `${path} does not hold a token; remove it, and a new one is made`)
    // Of the store before: this master knows that it was right, so the one that follows takes it over.
    const believed = tokens.believes(given, role)
    const principal = await tokens.check(text)
    if (principal?.role === role) return { path, state: 'kept' }
    if (isNew || believed) {
      await tokens.mint({ role, project: ALL_PROJECTS, label }, given)
      return { path, state: 'registered' }
    }
  }
  const before = (await tokens.list()).filter((token) => token.label === label && token.role === role)
  const minted = await tokens.mint({ role, project: ALL_PROJECTS, label })
  write(dataDir, path, minted.secret)
  for (const token of before) await tokens.revoke(token.id)
  return { path, state: 'made' }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new SshoalError('TOKEN_FILE', `cannot read ${path}: ${errorText(error)}`, { cause: error })
  }
}

/** Beside, then renamed: a reader never sees half a token. */
function write(dataDir: string, path: string, text: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    writeFileSync(`${path}.new`, `${text}\n`, { mode: 0o600, flush: true })
    renameSync(`${path}.new`, path)
  } catch (error) {
    throw new SshoalError('TOKEN_FILE', `cannot write ${path}: ${errorText(error)}`, { cause: error })
  }
}
