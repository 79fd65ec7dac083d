// What every store must do, whatever is underneath. Each implementation calls this with a way to open it again and again.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { exportStore, importStore } from '../../src/store/store-export.ts'
import type { Change, RecordRef, Store } from '../../src/store/store.ts'

export interface StoreFactory {
  /** Opens the same store each time, until `destroy`. */
  open(): Promise<Store>
  destroy(): Promise<void>
}

function ref(id: string, project = 'default', kind = 'device'): RecordRef {
  return { kind, project, id }
}

function put(
  id: string,
  value: unknown,
  rest: Pick<Change & { type: 'put' }, 'claims' | 'expect'> = {},
): Change {
  return { type: 'put', ref: ref(id), value, ...rest }
}

async function linesOf(store: Store): Promise<string[]> {
  const lines: string[] = []
  for await (const line of exportStore(store)) lines.push(line)
  return lines
}

export function describeStore(name: string, make: () => Promise<StoreFactory>): void {
  describe(name, () => {
    let factory: StoreFactory
    let store: Store

    beforeEach(async () => {
      factory = await make()
      store = await factory.open()
    })

    afterEach(async () => {
      await store.close()
      await factory.destroy()
    })

    async function reopen(): Promise<void> {
      await store.close()
      store = await factory.open()
    }

    it('gives back what was put, after it was opened again too', async () => {
      expect(await store.transact([put('a', { x: [1, 'ü', null] })])).toEqual({ done: true })
      await reopen()
      expect((await store.get(ref('a')))?.value).toEqual({ x: [1, 'ü', null] })
      expect(await store.get(ref('b'))).toBeUndefined()
    })

    it('keeps its id and its invalidation number over a restart, and the number only rises', async () => {
      const { id } = store
      expect(await store.lastInvalidation()).toBe(0)
      const numbers = await Promise.all(Array.from({ length: 10 }, () => store.nextInvalidation()))
      expect(numbers.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      await reopen()
      expect(store.id).toBe(id)
      expect(await store.lastInvalidation()).toBe(10)
      expect(await store.nextInvalidation()).toBe(11)
    })

    it('refuses a change whose expectation does not hold, and names the record', async () => {
      await store.transact([put('a', 1)])
      const version = (await store.get(ref('a')))?.version ?? 0
      const refusal = async (change: Change) => {
        const outcome = await store.transact([change])
        return outcome.done ? 'done' : outcome.conflict.reason
      }
      expect(await refusal(put('a', 2, { expect: 'absent' }))).toBe('exists')
      expect(await refusal(put('b', 2, { expect: 'present' }))).toBe('missing')
      expect(await refusal(put('b', 2, { expect: version }))).toBe('missing')
      expect(await refusal({ type: 'remove', ref: ref('b'), expect: 'present' })).toBe('missing')
      expect(await refusal(put('a', 2, { expect: version }))).toBe('done')
      expect(await refusal(put('a', 3, { expect: version }))).toBe('changed')
      expect((await store.get(ref('a')))?.value).toBe(2)
    })

    it('never gives a version twice, not to a record that was removed and made again either', async () => {
      await store.transact([put('a', 1)])
      const first = await store.get(ref('a'))
      await store.transact([{ type: 'remove', ref: ref('a') }])
      await store.transact([put('a', 1)])
      expect((await store.get(ref('a')))?.version).not.toBe(first?.version)
    })

    it('changes everything or nothing', async () => {
      await store.transact([put('a', 1)])
      const outcome = await store.transact([
        put('b', 1),
        { type: 'remove', ref: ref('a') },
        put('c', 1, { expect: 'present' }),
      ])
      expect(outcome).toEqual({ done: false, conflict: { reason: 'missing', ref: ref('c') } })
      expect(await store.get(ref('b'))).toBeUndefined()
      expect((await store.get(ref('a')))?.value).toBe(1)
    })

    it('lets one of many win that race for the same record', async () => {
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, n) => store.transact([put('a', n, { expect: 'absent' })])),
      )
      expect(outcomes.filter((outcome) => outcome.done)).toHaveLength(1)
    })

    it('gives a claim to one record of a project, and leads back to it', async () => {
      const claims = [{ index: 'fingerprint', value: 'SHA256:x' }]
      await store.transact([put('a', 1, { claims })])
      expect(await store.transact([put('b', 1, { claims })])).toEqual({
        done: false,
        conflict: { reason: 'taken', ref: ref('b'), claim: claims[0], by: ref('a') },
      })
      const elsewhere: Change = { type: 'put', ref: ref('b', 'other'), value: 2, claims }
      expect(await store.transact([elsewhere])).toEqual({ done: true })
      const found = await store.find('device', { index: 'fingerprint', value: 'SHA256:x' })
      expect(found.map(({ project, id }) => `${project}/${id}`).sort()).toEqual(['default/a', 'other/b'])
      expect(await store.find('user', { index: 'fingerprint', value: 'SHA256:x' })).toEqual([])
    })

    it('gives a claim that is made everywhere to one record of all projects', async () => {
      const claims = [{ index: 'port', value: 'eu:20001', everywhere: true }]
      await store.transact([put('a', 1, { claims })])
      const elsewhere: Change = { type: 'put', ref: ref('b', 'other'), value: 2, claims }
      expect(await store.transact([elsewhere])).toMatchObject({ done: false, conflict: { by: ref('a') } })
      expect(await store.claims('device', 'port')).toEqual([{ value: 'eu:20001', ref: ref('a') }])
    })

    it('frees claims that a record gives up, and those of one that is removed', async () => {
      const claims = [{ index: 'mac', value: 'm' }]
      await store.transact([put('a', 1, { claims })])
      await store.transact([put('a', 1, { claims: [] })])
      expect(await store.transact([put('b', 1, { claims })])).toEqual({ done: true })
      await store.transact([{ type: 'remove', ref: ref('b') }])
      expect(await store.claims('device', 'mac')).toEqual([])
    })

    it('moves a claim from one record to another in one transaction', async () => {
      const claims = [{ index: 'mac', value: 'm' }]
      await store.transact([put('a', 1, { claims })])
      const outcome = await store.transact([put('a', 1, { claims: [] }), put('b', 1, { claims })])
      expect(outcome).toEqual({ done: true })
      expect((await store.find('device', { index: 'mac', value: 'm' }))[0]?.id).toBe('b')
    })

    it('scans in order, a page at a time, within a project, a prefix or all', async () => {
      const ids = ['a1', 'a10', 'a2', 'b', 'c']
      await store.transact(ids.map((id) => put(id, id)))
      await store.transact([
        { type: 'put', ref: ref('a1', 'zoo'), value: 1 },
        { type: 'put', ref: ref('x', 'default', 'user'), value: 1 },
      ])
      const seen: string[] = []
      let after: string | undefined
      do {
        const page = await store.scan({ kind: 'device', limit: 2, ...(after === undefined ? {} : { after }) })
        seen.push(...page.records.map(({ project, id }) => `${project}/${id}`))
        after = page.next ?? undefined
      } while (after !== undefined)
      expect(seen).toEqual([...ids.map((id) => `default/${id}`), 'zoo/a1'])
      const within = await store.scan({ kind: 'device', project: 'default', prefix: 'a1', limit: 10 })
      expect(within.records.map(({ id }) => id)).toEqual(['a1', 'a10'])
      expect(within.next).toBeNull()
    })

    it('goes on behind a cursor whose record is gone, and refuses one that is none', async () => {
      await store.transact(['a', 'b', 'c'].map((id) => put(id, id)))
      const { next } = await store.scan({ kind: 'device', limit: 1 })
      await store.transact([{ type: 'remove', ref: ref('a') }])
      const page = await store.scan({ kind: 'device', after: next ?? '', limit: 5 })
      expect(page.records.map(({ id }) => id)).toEqual(['b', 'c'])
      for (const after of ['', 'zzz', Buffer.from('[1]').toString('base64url')])
        await expect(store.scan({ kind: 'device', after, limit: 1 })).rejects.toMatchObject({
          code: 'INVALID_CURSOR',
        })
    })

    it('keeps apart what only looks alike: NUL and control characters, and one name that begins another', async () => {
      const ids = ['a', 'a\0', 'a\0b', 'a\x01', 'a\x01b', 'ab', 'ü', '\uffff', '😀']
      for (const [n, id] of ids.entries())
        await store.transact([
          put(id, n, { claims: [{ index: 'mac', value: `${id}\0x` }], expect: 'absent' }),
        ])
      await store.transact([{ type: 'put', ref: ref('b', 'default\x01'), value: 1 }])
      const { records } = await store.scan({ kind: 'device', project: 'default', limit: 100 })
      const sorted = ids.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      expect(records.map(({ id }) => id)).toEqual(sorted)
      for (const [n, id] of ids.entries()) {
        expect((await store.get(ref(id)))?.value).toBe(n)
        const found = await store.find('device', { index: 'mac', value: `${id}\0x` })
        expect(found.map((record) => record.id)).toEqual([id])
      }
      const prefixed = await store.scan({ kind: 'device', project: 'default', prefix: 'a\0', limit: 100 })
      expect(prefixed.records.map(({ id }) => id)).toEqual(['a\0', 'a\0b'])
    })

    it('is there, and accepting it changes nothing', async () => {
      expect(store.state).toBe('ok')
      const { id } = store
      expect(await store.accept()).toBe(id)
      expect(store.id).toBe(id)
    })

    it('exports one moment while others write, and an export says so when it is cut off', async () => {
      const many = Array.from({ length: 1_200 }, (_, n) => put(`d${n}`, { n }))
      await store.transact(many)
      const lines = exportStore(store)
      const read = [(await lines.next()).value ?? '']
      await store.transact([{ type: 'remove', ref: ref('d1199') }, put('d0', 'later'), put('zzz', 'later')])
      for await (const line of lines) read.push(line)
      expect(read).toHaveLength(1_202)
      expect(read.join('')).not.toContain('later')
      expect(read.at(-1)).toBe('{"end":1200}')
      const again = await linesOf(store)
      expect(again.filter((line) => line.includes('later'))).toHaveLength(2)
      await expect(importStore(store, read.slice(0, -1), { replace: true })).rejects.toMatchObject({
        code: 'INVALID_EXPORT',
      })
      expect(await linesOf(store)).toEqual(again)
    })

    it('becomes what was exported, its id and claims included, and goes on from there', async () => {
      const claims = [{ index: 'mac', value: 'm' }]
      const everywhere = [{ index: 'port', value: 'eu:1', everywhere: true }]
      await store.transact([
        put('a', { deep: [1] }, { claims }),
        { type: 'put', ref: ref('b', 'other', 'user'), value: 'ü', claims: everywhere },
      ])
      await store.nextInvalidation()
      const { id } = store
      const before = await store.get(ref('a'))
      const lines = await linesOf(store)

      await store.transact([
        put('a', 2),
        put('new', 1, { claims: [{ index: 'mac', value: 'n' }] }),
        { type: 'put', ref: ref('x', 'default', 'lease'), value: 1 },
      ])
      const changed = await store.get(ref('a'))
      const heard: string[] = []
      store.onState((state, id) => heard.push(`${state} ${id}`))
      await expect(importStore(store, lines)).rejects.toMatchObject({ code: 'STORE_NOT_EMPTY' })
      expect((await store.get(ref('a')))?.value).toBe(2)
      expect(await importStore(store, lines, { replace: true })).toBe(2)

      expect(store.id).toBe(id)
      expect(await store.get(ref('a'))).toEqual(before)
      expect(await store.get(ref('new'))).toBeUndefined()
      expect(await store.get(ref('x', 'default', 'lease'))).toBeUndefined()
      expect((await store.scan({ kind: 'device', limit: 9 })).records).toHaveLength(1)
      expect(await store.claims('device', 'mac')).toEqual([{ value: 'm', ref: ref('a') }])
      expect(await store.claims('user', 'port')).toEqual([{ value: 'eu:1', ref: ref('b', 'other', 'user') }])
      expect(await store.lastInvalidation()).toBeGreaterThan(1)
      // What was read before the import does not pass for what is there now.
      await store.transact([put('a', 3)])
      expect((await store.get(ref('a')))?.version).toBeGreaterThan(changed?.version ?? Infinity)
      expect(heard.every((text) => text === `ok ${id}`)).toBe(true)
      await reopen()
      expect((await store.get(ref('a')))?.value).toBe(3)
    })

    it('takes the id of an export from elsewhere, and says so', async () => {
      const lines = await linesOf(store)
      const other = lines.map((line) => line.replace(store.id, 'another-store'))
      const heard: string[] = []
      store.onState((state, id) => heard.push(`${state} ${id}`))
      await importStore(store, other)
      expect(store.id).toBe('another-store')
      expect(heard).toEqual(['ok another-store'])
      await reopen()
      expect(store.id).toBe('another-store')
    })

    it('numbers an invalidation with the change that it is about, and not without it', async () => {
      const before = await store.nextInvalidation()
      const removal: Change[] = [{ type: 'remove', ref: ref('a'), expect: 'present' }]
      expect(await store.transact(removal, { numbered: true })).toMatchObject({ done: false })
      expect(await store.lastInvalidation()).toBe(before)
      await store.transact([put('a', 1)])
      expect(await store.transact(removal, { numbered: true })).toEqual({
        done: true,
        invalidation: before + 1,
      })
      expect(await store.lastInvalidation()).toBe(before + 1)
      expect(await store.nextInvalidation()).toBe(before + 2)
    })

    it('refuses what is no export, naming the line', async () => {
      const good = ['{"sshoal":"store","schema":1,"id":"x","version":9,"invalidation":0}']
      const record = (id: string, mac = id) =>
        `{"kind":"device","project":"p","id":"${id}","version":1,"value":1,"claims":[{"index":"mac","value":"${mac}"}]}`
      const cases: [string[], string, number][] = [
        [[], 'INVALID_EXPORT', 0],
        [['{}'], 'INVALID_EXPORT', 1],
        [[...good, 'nonsense'], 'INVALID_EXPORT', 2],
        [[...good, '{"kind":"device"}'], 'INVALID_EXPORT', 2],
        [[...good, record('a'), record('a', 'b'), '{"end":2}'], 'INVALID_EXPORT', 3],
        [[...good, record('a'), record('b', 'a'), '{"end":2}'], 'INVALID_EXPORT', 3],
        [[...good, record('a'), '{"end":2}'], 'INVALID_EXPORT', 3],
      ]
      for (const [lines, code, line] of cases)
        await expect(importStore(store, lines)).rejects.toMatchObject({ code, details: { line } })
      const newer = ['{"sshoal":"store","schema":99,"id":"x","version":9,"invalidation":0}', '{"end":0}']
      await expect(importStore(store, newer)).rejects.toMatchObject({
        code: 'STORE_TOO_NEW',
        message: expect.stringMatching(/schema 99/),
      })
      expect((await store.scan({ kind: 'device', limit: 9 })).records).toEqual([])
    })

    it('keeps what was written in the same tick as the close, and refuses what comes later', async () => {
      const writing = store.transact([put('a', 1)])
      await store.close()
      expect(await writing).toEqual({ done: true })
      await expect(store.get(ref('a'))).rejects.toMatchObject({ code: 'STORE_CLOSED' })
      await expect(store.transact([put('b', 1)])).rejects.toMatchObject({ code: 'STORE_CLOSED' })
      store = await factory.open()
      expect((await store.get(ref('a')))?.value).toBe(1)
    })
  })
}
