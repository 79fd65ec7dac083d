// When things that a test made come to their end: with the test that made them, or with the test file
// when they were made outside a test (in `beforeAll`). The newest goes first.
// Not for `test.concurrent`: vitest cannot say there which test is running.

import { AsyncLocalStorage } from 'node:async_hooks'

import { afterAll, onTestFinished, TestRunner } from 'vitest'

type Close = () => unknown

export type Owner = 'test' | 'file'

const withFile: Close[] = []
const chosen = new AsyncLocalStorage<Owner>()

afterAll(async () => {
  const failures: unknown[] = []
  for (const close of withFile.splice(0).toReversed()) {
    try {
      await close()
    } catch (failure) {
      failures.push(failure)
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'clearing up after the test file failed')
})

export function currentOwner(): Owner {
  return chosen.getStore() ?? (TestRunner.getCurrentTest() === undefined ? 'file' : 'test')
}

/** What `make` makes belongs to this owner, whoever runs. */
export function asOwner<T>(owner: Owner, make: () => T): T {
  return chosen.run(owner, make)
}

export function atEnd(close: Close): void {
  if (currentOwner() === 'file') {
    withFile.push(close)
  } else {
    onTestFinished(async () => {
      await close()
    })
  }
}
