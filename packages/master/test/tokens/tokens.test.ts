import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { SshoalError } from '@sshoal/shared'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { openLmdbStore } from '../../src/store/lmdb-store.ts'
import type { Store } from '../../src/store/store.ts'
import { ensureTokenFiles } from '../../src/tokens/token-files.ts'
import { mayActAs, ROLES } from '../../src/tokens/token.ts'
import { Tokens } from '../../src/tokens/tokens.ts'
import { temporaryFolder } from '../master-parts.ts'

let folder: ReturnType<typeof temporaryFolder>
let store: Store
let tokens: Tokens
let now = 0

beforeEach(async () => {
  now = Date.UTC(2030, 0, 1)
  folder = temporaryFolder()
  store = await openLmdbStore(folder.path)
  tokens = new Tokens(store, () => now)
})
afterEach(async () => {
  await store.close()
  folder.remove()
})

describe('a token', () => {
  it('speaks for its role and project, and is never stored', async () => {
    const { secret, id } = await tokens.mint({ role: 'operator', label: 'grafana', project: 'acme' })
    expect(secret).toMatch(/^sshoal_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$/)
    expect(await tokens.check(secret)).toEqual({
      tokenId: id,
      role: 'operator',
      project: 'acme',
      label: 'grafana',
    })
    const raw = JSON.stringify((await store.scan({ kind: 'token', limit: 10 })).records)
    expect(raw).not.toContain(secret.slice(-43))
    expect(JSON.stringify(await tokens.list())).not.toContain('hash')
  })

  it('is refused where one letter differs, where it is of another shape, and where its secret is another’s', async () => {
    const one = (await tokens.mint({ role: 'admin', label: '1' })).secret
    const two = (await tokens.mint({ role: 'admin', label: '2' })).secret
    const mixed = one.slice(0, 24) + two.slice(24)
    for (const text of [
      `${one}x`,
      one.slice(0, -1),
      one.toUpperCase(),
      mixed,
      '',
      'sshoal_',
      'x'.repeat(10_000),
    ])
      expect(await tokens.check(text)).toBeUndefined()
  })

  it('ends at its end', async () => {
    const { secret } = await tokens.mint({ role: 'user', label: 'x', expiresAt: now + 1_000 })
    expect(await tokens.check(secret)).toBeDefined()
    now += 1_000
    expect(await tokens.check(secret)).toBeUndefined()
    await expect(tokens.mint({ role: 'user', label: 'x', expiresAt: now })).rejects.toMatchObject({
      code: 'INVALID_TOKEN_REQUEST',
    })
  })

  it('is refused from the moment it is revoked, and those who opened something with it hear of it', async () => {
    const revoked: string[] = []
    const stop = tokens.onRevoked((id) => revoked.push(id))
    const one = await tokens.mint({ role: 'slave', label: 'old', project: '*' })
    const two = await tokens.mint({ role: 'slave', label: 'new', project: '*' })
    expect(await tokens.check(one.secret)).toBeDefined()
    expect(await tokens.revoke(one.id)).toBe(true)
    expect(await tokens.check(one.secret)).toBeUndefined()
    // Two slave tokens overlap while slaves change over.
    expect(await tokens.check(two.secret)).toBeDefined()
    expect(revoked).toEqual([one.id])
    expect(await tokens.revoke(one.id)).toBe(false)
    expect(await tokens.revoke(two.id, 'acme')).toBe(false)
    stop()
    await tokens.revoke(two.id)
    expect(revoked).toHaveLength(1)
  })

  it('spans all projects for admins and slaves alone', async () => {
    for (const role of ROLES) {
      const minting = tokens.mint({ role, label: 'x', project: '*' })
      if (role === 'admin' || role === 'slave') await expect(minting).resolves.toMatchObject({ project: '*' })
      else await expect(minting).rejects.toMatchObject({ code: 'INVALID_TOKEN_REQUEST' })
    }
  })

  it('lets an admin act as anybody but a slave, and anybody else as himself', () => {
    for (const role of ROLES)
      for (const wanted of ROLES)
        expect(mayActAs(role, wanted)).toBe(role === wanted || (role === 'admin' && wanted !== 'slave'))
  })
})

describe('the token files', () => {
  const read = (name: string) => readFileSync(join(folder.path, name), 'utf8').trim()

  it('are made at first start for their owner alone, and kept at the next', async () => {
    const files = await ensureTokenFiles(folder.path, tokens)
    expect(files.admin).toEqual({ path: join(folder.path, 'admin-token'), state: 'made' })
    for (const name of ['admin-token', 'slave-token'])
      expect(statSync(join(folder.path, name)).mode & 0o777).toBe(0o600)
    expect(await tokens.check(read('admin-token'))).toMatchObject({ role: 'admin', project: '*' })
    expect(await tokens.check(read('slave-token'))).toMatchObject({ role: 'slave', project: '*' })
    const again = await ensureTokenFiles(folder.path, tokens)
    expect([again.admin.state, again.slave.state]).toEqual(['kept', 'kept'])
    expect(await tokens.list()).toHaveLength(2)
  })

  it('are taken over by an empty store, so that slaves need no new token', async () => {
    await ensureTokenFiles(folder.path, tokens)
    const before = read('slave-token')
    await store.close()
    rmSync(join(folder.path, 'store'), { recursive: true })
    store = await openLmdbStore(folder.path)
    tokens = new Tokens(store)
    const files = await ensureTokenFiles(folder.path, tokens)
    expect([files.admin.state, files.slave.state]).toEqual(['registered', 'registered'])
    expect(read('slave-token')).toBe(before)
    expect(await tokens.check(before)).toMatchObject({ role: 'slave' })
  })

  it('get a new token when they are gone, and the old one is revoked', async () => {
    await ensureTokenFiles(folder.path, tokens)
    const old = read('admin-token')
    rmSync(join(folder.path, 'admin-token'))
    const files = await ensureTokenFiles(folder.path, tokens)
    expect([files.admin.state, files.slave.state]).toEqual(['made', 'kept'])
    expect(await tokens.check(old)).toBeUndefined()
    expect(await tokens.check(read('admin-token'))).toMatchObject({ role: 'admin' })
    expect(await tokens.list()).toHaveLength(2)
  })

  it('belong to one master of several that share a store: none revokes what another made', async () => {
    const other = join(folder.path, 'other')
    const tokenOf = (path: string) => readFileSync(path, 'utf8').trim()
    const first = await ensureTokenFiles(folder.path, tokens, 'host-1:/data')
    const second = await ensureTokenFiles(other, tokens, 'host-2:/data')
    for (const { admin, slave } of [first, second]) {
      expect(await tokens.check(tokenOf(admin.path))).toMatchObject({ role: 'admin' })
      expect(await tokens.check(tokenOf(slave.path))).toMatchObject({ role: 'slave' })
    }
    // The same master without its files gets new ones in place of its own, and of nobody else's.
    const lost = tokenOf(second.admin.path)
    rmSync(other, { recursive: true })
    await ensureTokenFiles(other, tokens, 'host-2:/data')
    expect(await tokens.check(lost)).toBeUndefined()
    expect(await tokens.check(tokenOf(first.admin.path))).toMatchObject({ role: 'admin' })
    expect(await tokens.list()).toHaveLength(4)
  })

  it('stay as they are while another store answers, and are made when the right one does', async () => {
    await ensureTokenFiles(folder.path, tokens)
    const changed = new Tokens({
      ...store,
      get: () => Promise.reject(new SshoalError('STORE_CHANGED', 'another store')),
    } as Store)
    const files = await ensureTokenFiles(folder.path, changed)
    expect([files.admin.state, files.slave.state]).toEqual(['kept', 'kept'])
    rmSync(join(folder.path, 'slave-token'))
    await expect(ensureTokenFiles(folder.path, changed)).rejects.toMatchObject({ code: 'STORE_CHANGED' })
  })

  it('get a new token when theirs was revoked; a revoked one never comes back', async () => {
    await ensureTokenFiles(folder.path, tokens)
    const old = read('slave-token')
    const { tokenId } = (await tokens.check(old)) ?? { tokenId: '' }
    await tokens.revoke(tokenId)
    // Not even where no token at all is left.
    for (const { id } of await tokens.list()) await tokens.revoke(id)
    const files = await ensureTokenFiles(folder.path, tokens)
    expect(files.slave.state).toBe('made')
    expect(read('slave-token')).not.toBe(old)
    expect(await tokens.check(old)).toBeUndefined()
  })

  it('are named when they hold nonsense or cannot be read', async () => {
    writeFileSync(join(folder.path, 'admin-token'), 'hello\n')
    await expect(ensureTokenFiles(folder.path, tokens)).rejects.toMatchObject({
      code: 'TOKEN_FILE',
      message: expect.stringContaining('admin-token'),
    })
    rmSync(join(folder.path, 'admin-token'))
    const nowhere = join(folder.path, 'file')
    writeFileSync(nowhere, '')
    chmodSync(nowhere, 0o600)
    await expect(ensureTokenFiles(nowhere, tokens)).rejects.toMatchObject({ code: 'TOKEN_FILE' })
  })
})
