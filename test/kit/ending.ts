// When things that a test made come to their end: with the test that made them, or with the test file
// when they were made outside a test (in `beforeAll`). The newest goes first.
// Not for `test.concurrent`: vitest cannot say there which test is running.

import { afterAll, onTestFinished } from 'vitest'

type Close = () => unknown

const withFile: Close[] = []

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

export function atEnd(close: Close): void {
  try {
    onTestFinished(async () => {
      await close()
    })
  } catch {
    withFile.push(close)
  }
}
