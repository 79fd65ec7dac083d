// The one line at the end of `npm test`, from reports as vitest writes them.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { makeFolder, run } from '../kit/index.ts'

const script = new URL('../count.mjs', import.meta.url).pathname

interface Step {
  exit?: number
  /** One list of test results per file; without it the step wrote no report. */
  files?: string[][]
}

async function count(...steps: Step[]) {
  const folder = makeFolder()
  const args = steps.map(({ exit = 0, files }, index) => {
    const path = join(folder, `${index}.json`)
    const testResults = files?.map((results) => ({
      name: 'some.test.ts',
      status: results.length > 0 && !results.includes('failed') ? 'passed' : 'failed',
      assertionResults: results.map((status) => ({ status, fullName: 'a behaviour' })),
    }))
    if (testResults !== undefined) writeFileSync(path, JSON.stringify({ testResults }))
    return `step ${index}=${exit}=${path}`
  })
  const { status, stdout } = await run('node', [script, ...args])
  return { status, line: stdout.trimEnd().split('\n').at(-1), stdout }
}

const good = { files: [['passed', 'passed'], ['passed']] }

test('the tests of all steps are added up', async () => {
  expect(await count(good, good)).toMatchObject({ status: 0, line: 'tests: 6 passed, 0 failed' })
})

test('one failed test fails the whole', async () => {
  const bad = { exit: 1, files: [['passed', 'failed'], ['passed']] }
  expect(await count(good, bad)).toMatchObject({ status: 1, line: 'tests: 5 passed, 1 failed' })
})

test('a file that does not load counts as a failure', async () => {
  expect(await count({ exit: 1, files: [['passed'], []] })).toMatchObject({
    status: 1,
    line: 'tests: 1 passed, 1 failed',
  })
})

test('a step that fails before its tests counts as a failure', async () => {
  expect(await count({ exit: 1 }, good)).toMatchObject({ status: 1, line: 'tests: 3 passed, 1 failed' })
})

test('an error outside of any test counts as a failure', async () => {
  expect(await count({ exit: 1, ...good })).toMatchObject({ status: 1, line: 'tests: 3 passed, 1 failed' })
})

test('no test at all is a failure', async () => {
  expect(await count({ files: [] })).toMatchObject({ status: 1, line: 'tests: 0 passed, 0 failed' })
})

test('a skipped test is named', async () => {
  const { stdout } = await count({ files: [['passed', 'skipped']] })
  expect(stdout).toContain('not run: some.test.ts: a behaviour')
})
