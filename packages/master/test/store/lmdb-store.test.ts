import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { open } from 'lmdb'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'

import { openLmdbStore } from '../../src/store/lmdb-store.ts'
import { SCHEMA } from '../../src/store/schema.ts'
import { temporaryFolder } from '../master-parts.ts'
import { buildChild } from './build-child.ts'
import { describeStore } from './store-suite.ts'

describeStore('the embedded store', async () => {
  const folder = temporaryFolder()
  return { open: () => openLmdbStore(folder.path), destroy: async () => folder.remove() }
})

/** `acknowledged` grows while it writes. */
function startWriter(script: string, dataDir: string, from: number) {
  const child = fork(script, [dataDir, String(from)], { execArgv: [], silent: true })
  const acknowledged: number[] = []
  child.on('message', (number) => acknowledged.push(number as number))
  return { child, acknowledged }
}

describe('the folder of the embedded store', () => {
  let folder: ReturnType<typeof temporaryFolder>
  let writer: string
  beforeAll(() => {
    writer = buildChild('write-loop')
  })
  afterAll(() => rmSync(writer, { force: true }))
  beforeEach(() => {
    folder = temporaryFolder()
  })
  afterEach(() => folder.remove())

  it('is for its owner alone', async () => {
    const store = await openLmdbStore(folder.path)
    const mode = (name: string) => statSync(join(folder.path, 'store', name)).mode & 0o777
    expect(mode('.')).toBe(0o700)
    expect(mode('data.mdb')).toBe(0o600)
    expect(mode('lock.mdb')).toBe(0o600)
    expect(mode('owner.pid')).toBe(0o600)
    await store.close()
  })

  it('is refused to a second opener, who hears which process has it', async () => {
    const store = await openLmdbStore(folder.path)
    await expect(openLmdbStore(folder.path)).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      message: expect.stringContaining(`process ${process.pid}`),
      details: { pid: process.pid },
    })
    await store.close()
    await (await openLmdbStore(folder.path)).close()
  })

  it('is free again for one of many that come at once', async () => {
    const settled = await Promise.allSettled(Array.from({ length: 8 }, () => openLmdbStore(folder.path)))
    const opened = settled.filter((result) => result.status === 'fulfilled')
    expect(opened).toHaveLength(1)
    for (const { value } of opened) await value.close()
  })

  it('works in a folder whose name is longer than a socket address', async () => {
    const long = join(folder.path, 'd'.repeat(120))
    await (await openLmdbStore(long)).close()
  })

  it('is refused to an older program by name', async () => {
    await (await openLmdbStore(folder.path)).close()
    const root = open({
      path: join(folder.path, 'store'),
      encoding: 'json',
      overlappingSync: false,
      maxDbs: 4,
    })
    await root.openDB({ name: 'meta', encoding: 'json' }).put('schema', SCHEMA.number + 1)
    await root.close()
    await expect(openLmdbStore(folder.path)).rejects.toMatchObject({
      code: 'STORE_TOO_NEW',
      message: expect.stringMatching(
        new RegExp(`schema ${SCHEMA.number + 1}.*knows ${SCHEMA.number}: update sshoal`),
      ),
    })
  })

  it('says so when it cannot be made or read', async () => {
    const file = join(folder.path, 'file')
    writeFileSync(file, '')
    await expect(openLmdbStore(file)).rejects.toMatchObject({ code: 'STORE_FAILED' })
    const data = join(folder.path, 'bad')
    await (await openLmdbStore(data)).close()
    const size = readFileSync(join(data, 'store', 'data.mdb')).length
    writeFileSync(join(data, 'store', 'data.mdb'), Buffer.alloc(size, 7))
    await expect(openLmdbStore(data)).rejects.toMatchObject({ code: 'STORE_FAILED' })
  })

  it('loses no acknowledged write to a kill -9 at any moment, and is free at once', async () => {
    let from = 0
    for (const rounds of [3, 60, 400]) {
      const { child, acknowledged } = startWriter(writer, folder.path, from)
      while (acknowledged.length < rounds) await once(child, 'message')
      child.kill('SIGKILL')
      await once(child, 'close')
      const store = await openLmdbStore(folder.path)
      for (const number of acknowledged) {
        const record = await store.get({ kind: 'device', project: 'default', id: `d${number}` })
        expect(record?.value).toEqual({ number })
        const [holder] = await store.find('device', { index: 'fingerprint', value: `f${number}` })
        expect(holder?.id).toBe(`d${number}`)
      }
      from = (acknowledged.at(-1) ?? from) + 1_000
      await store.close()
    }
  })

  it('is refused while another process writes, naming that process', async () => {
    const { child, acknowledged } = startWriter(writer, folder.path, 0)
    while (acknowledged.length < 1) await once(child, 'message')
    await expect(openLmdbStore(folder.path)).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      details: { pid: child.pid },
    })
    child.kill('SIGKILL')
    await once(child, 'close')
  })
})
