// Programs of other ages, for the tests of migrations: one that writes schema 1, and one that writes schema 3.
import type { Schema } from '../../src/store/schema.ts'
import type { ClaimedRecord } from '../../src/store/store.ts'

export const OLD: Schema = { number: 1, steps: [] }

type Records = AsyncGenerator<ClaimedRecord, void>

interface Named {
  name: string
}

/** `onRecord`: called with the number of each record that the second step has seen. */
export function newSchema(onRecord: (count: number) => Promise<void> | void = () => {}): Schema {
  async function* capitals(older: Records): Records {
    for await (const record of older)
      yield { ...record, value: { name: (record.value as Named).name.toUpperCase() } }
  }
  /** Each becomes two, and the name is claimed. */
  async function* pairs(older: Records): Records {
    let count = 0
    for await (const record of older) {
      const { name } = record.value as Named
      yield { ...record, claims: [...record.claims, { index: 'name', value: name, everywhere: true }] }
      yield { ...record, kind: 'nickname', value: { name: `${name}!` }, claims: [] }
      await onRecord(++count)
    }
  }
  return {
    number: 3,
    steps: [
      { to: 2, records: capitals },
      { to: 3, records: pairs },
    ],
  }
}
