// A process that writes until it is killed and tells its parent of every write that was acknowledged.
import { openLmdbStore } from '../../src/store/lmdb-store.ts'

const [, , dataDir = '', from = '0'] = process.argv
const store = await openLmdbStore(dataDir)

async function writeOn(first: number, step: number): Promise<never> {
  for (let number = first; ; number += step) {
    const outcome = await store.transact([
      {
        type: 'put',
        ref: { kind: 'device', project: 'default', id: `d${number}` },
        value: { number },
        claims: [{ index: 'fingerprint', value: `f${number}` }],
        expect: 'absent',
      },
    ])
    if (outcome.done) process.send?.(number)
  }
}

// Several writers at once, so that commits carry more than one transaction.
await Promise.all([0, 1, 2, 3].map((offset) => writeOn(Number(from) + offset, 4)))
