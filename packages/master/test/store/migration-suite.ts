// What a migration promises, whatever the engine: the same tests run over the embedded store and over Redis.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'

import { readExport } from '../../src/store/export-file.ts'
import type { Schema } from '../../src/store/schema.ts'
import { exportStore, importStore } from '../../src/store/store-export.ts'
import type { Store } from '../../src/store/store.ts'
import { buildChild } from './build-child.ts'
import { newSchema, OLD } from './migration-steps.ts'

export interface MigrationPlace {
  /** Where the copy is made. */
  folder: string
  /** A program of this schema opens the store; it is closed by the caller. */
  open(schema: Schema): Promise<Store>
  /** Another store, that is empty. */
  openOther(schema: Schema): Promise<Store>
  /** For migrate-and-stop.ts: folder, and where Redis is. */
  args: string[]
  destroy(): Promise<void> | void
}

const COUNT = 60
const ref = (n: number) => ({ kind: 'device', project: 'default', id: `d${String(n).padStart(3, '0')}` })

async function fill(place: MigrationPlace): Promise<string[]> {
  const store = await place.open(OLD)
  for (let n = 0; n < COUNT; n++) {
    const claims = [{ index: 'mac', value: `m${n}` }]
    await store.transact([{ type: 'put', ref: ref(n), value: { name: `name ${n}` }, claims }])
  }
  await store.nextInvalidation()
  const lines = await linesOf(store)
  await store.close()
  return lines
}

async function linesOf(store: Store): Promise<string[]> {
  const lines: string[] = []
  for await (const line of exportStore(store)) lines.push(line)
  return lines
}

async function expectMigrated(store: Store): Promise<void> {
  expect((await store.scan({ kind: 'device', limit: 200 })).records).toHaveLength(COUNT)
  expect((await store.get(ref(7)))?.value).toEqual({ name: 'NAME 7' })
  expect((await store.get({ ...ref(7), kind: 'nickname' }))?.value).toEqual({ name: 'NAME 7!' })
  for (const claim of [
    { index: 'name', value: 'NAME 7' },
    { index: 'mac', value: 'm7' },
  ])
    expect(await store.find('device', claim)).toMatchObject([{ id: 'd007' }])
}

export function describeMigration(name: string, make: () => Promise<MigrationPlace> | MigrationPlace): void {
  describe(name, () => {
    let place: MigrationPlace
    beforeEach(async () => {
      place = await make()
    })
    afterEach(() => place.destroy())
    const copyOf = () => join(place.folder, 'store-schema-1.ndjson')

    it('goes through every step, after a copy was saved for its owner alone', async () => {
      const before = await fill(place)
      const store = await place.open(newSchema())
      await expectMigrated(store)
      expect(store.id).toBe((JSON.parse(before[0] ?? '') as { id: string }).id)
      expect(await store.lastInvalidation()).toBeGreaterThan(1)
      expect(JSON.parse((await linesOf(store))[0] ?? '')).toMatchObject({ schema: 3 })
      expect(readFileSync(copyOf(), 'utf8').trimEnd().split('\n')).toEqual(before)
      expect(statSync(copyOf()).mode & 0o777).toBe(0o600)
      // Claims of before still hold, so does what a version promises.
      const taken = { type: 'put', ref: ref(900), value: 0, claims: [{ index: 'mac', value: 'm7' }] } as const
      expect(await store.transact([{ ...taken, claims: [...taken.claims] }])).toMatchObject({ done: false })
      await store.close()
      // Once is enough.
      chmodSync(copyOf(), 0o400)
      const again = await place.open(newSchema())
      await expectMigrated(again)
      expect(statSync(copyOf()).mode & 0o777).toBe(0o400)
      await again.close()
    })

    it('leaves a copy that the older program reads', async () => {
      const before = await fill(place)
      await (await place.open(newSchema())).close()
      const older = await place.openOther(OLD)
      expect(await importStore(older, readExport(copyOf()))).toBe(COUNT)
      expect((await linesOf(older)).slice(1)).toEqual(before.slice(1))
      await older.close()
    })

    it('is refused to the older program, which names both schemas and what to do', async () => {
      await fill(place)
      await (await place.open(newSchema())).close()
      await expect(place.open(OLD)).rejects.toMatchObject({
        code: 'STORE_TOO_NEW',
        message: expect.stringMatching(
          /^the store has schema 3, this program knows 1: update sshoal, or name /,
        ),
      })
    })

    it('brings an export of an older program along', async () => {
      const lines = await fill(place)
      const store = await place.openOther(newSchema())
      expect(await importStore(store, lines)).toBe(COUNT)
      await expectMigrated(store)
      await store.close()
    })

    it('leaves all as it was where a step fails', async () => {
      const before = await fill(place)
      const failing = newSchema((count) => {
        if (count > 20) throw new Error('a step that fails')
      })
      await expect(place.open(failing)).rejects.toThrow('a step that fails')
      const older = await place.open(OLD)
      expect(await linesOf(older)).toEqual(before)
      expect(await older.transact([{ type: 'put', ref: ref(1), value: { name: 'x' } }])).toEqual({
        done: true,
      })
      await older.close()
    })

    it('is whole after its process was killed in the middle of it', async () => {
      const before = await fill(place)
      const script = buildChild('migrate-and-stop')
      onTestFinished(() => rmSync(script))
      for (let round = 0; round < 2; round++) {
        const child = fork(script, place.args, { execArgv: [], silent: true })
        onTestFinished(() => void child.kill('SIGKILL'))
        const [message] = (await once(child, 'message')) as [string]
        expect(message).toBe('in the middle')
        const exited = once(child, 'exit')
        child.kill('SIGKILL')
        await exited
        expect(readFileSync(copyOf(), 'utf8').trimEnd().split('\n')).toEqual(before)
      }
      const store = await place.open(newSchema())
      await expectMigrated(store)
      await store.close()
    }, 60_000)
  })
}
