// The last line of `npm test`. Takes `name=exit status=report` per step, where the report is what vitest's
// json reporter wrote. A step that failed without a failed test (format, lint, types, a file that does not
// load, an error outside a test) counts as one failure; a skipped test is named, because nothing is skipped.

import { existsSync, readFileSync } from 'node:fs'

let passed = 0
let failed = 0

for (const step of process.argv.slice(2)) {
  const [name, status, file] = step.split('=')
  const report = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { testResults: [] }
  let failures = 0
  for (const { name: path, status, assertionResults } of report.testResults) {
    const failedHere = assertionResults.filter((test) => test.status === 'failed')
    passed += assertionResults.filter((test) => test.status === 'passed').length
    failures += status === 'failed' ? Math.max(1, failedHere.length) : failedHere.length
    for (const test of assertionResults) {
      if (!['passed', 'failed'].includes(test.status)) console.log(`not run: ${path}: ${test.fullName}`)
    }
  }
  if (status !== '0') {
    console.log(`failed: ${name}`)
    failures = Math.max(1, failures)
  }
  failed += failures
}

console.log(`tests: ${passed} passed, ${failed} failed`)
process.exitCode = passed > 0 && failed === 0 ? 0 : 1
