// The second try of files that failed, from reports as vitest writes them.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { makeFolder, run } from '../kit/index.ts'

const script = new URL('../try-again.mjs', import.meta.url).pathname

type Files = Record<string, string[]>

const reportOf = (files: Files) => ({
  testResults: Object.entries(files).map(([name, results]) => ({
    name,
    status: results.includes('failed') || results.length === 0 ? 'failed' : 'passed',
    message: 'it does not load',
    assertionResults: results.map((status) => ({
      status,
      fullName: 'a behaviour',
      failureMessages: ['bad luck\n  at'],
    })),
  })),
})

/** Tries again with a command that finds `then` the second time. Answers with the files it was told and what is reported. */
async function tryAgain(first: Files, then: Files, exit: number) {
  const folder = makeFolder()
  const [report, command] = [join(folder, 'report.json'), join(folder, 'vitest.mjs')]
  writeFileSync(report, JSON.stringify(reportOf(first)))
  const again = JSON.stringify(JSON.stringify(reportOf(then)))
  writeFileSync(
    command,
    `import { writeFileSync } from 'node:fs'
    writeFileSync('${join(folder, 'told')}', process.argv.slice(2).join())
    writeFileSync(process.env.TEST_REPORT, ${again})
    process.exitCode = ${exit}`,
  )
  writeFileSync(join(folder, 'told'), 'nothing')
  const { status, stdout } = await run(process.execPath, [script, report, process.execPath, command, 'run'])
  const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as ReturnType<typeof reportOf>
  const results = testResults.map(({ name, assertionResults }) => [
    name,
    assertionResults.map((result) => result.status),
  ])
  return {
    status,
    stdout,
    told: readFileSync(join(folder, 'told'), 'utf8'),
    results: Object.fromEntries(results),
  }
}

const first = { 'a.test.ts': ['passed'], 'b.test.ts': ['passed', 'failed'], 'c.test.ts': [] }

test('the failed files alone are run again, and what comes of it counts', async () => {
  const then = { 'c.test.ts': ['passed'], 'b.test.ts': ['passed', 'passed'] }
  expect(await tryAgain(first, then, 0)).toMatchObject({
    status: 0,
    told: 'run,b.test.ts,c.test.ts',
    results: { 'a.test.ts': ['passed'], ...then },
  })
})

test('what needed a second try is named with what was wrong at the first', async () => {
  const { stdout } = await tryAgain(first, {}, 0)
  expect(stdout).toBe(
    'tried again: b.test.ts: a behaviour: bad luck\ntried again: c.test.ts: it does not load\n',
  )
})

test('what fails twice has failed', async () => {
  const then = { 'b.test.ts': ['passed', 'failed'], 'c.test.ts': ['passed'] }
  expect(await tryAgain(first, then, 1)).toMatchObject({
    status: 1,
    results: { 'b.test.ts': ['passed', 'failed'] },
  })
})

test('many failed files are no bad luck and are not run again', async () => {
  const many = Object.fromEntries(Array.from({ length: 5 }, (_, n) => [`${n}.test.ts`, ['failed']]))
  expect(await tryAgain(many, {}, 0)).toMatchObject({ status: 1, told: 'nothing' })
})

test('an error outside of any file is not tried again', async () => {
  expect(await tryAgain({ 'a.test.ts': ['passed'] }, {}, 0)).toMatchObject({ status: 1, told: 'nothing' })
})
