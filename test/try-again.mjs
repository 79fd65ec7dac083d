// One more try for what failed where nobody can look: `report command…` runs the command again with the files that the
// report calls failed, and puts what came of it in their place. Whole files and not single tests, because the tests of a
// file share a cluster, which a failed one leaves with its devices in it or a process that stands still; and after all
// others, so that the machine is theirs alone. More than a few failures are no bad luck and stay as they are.

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

const MOST_FILES = 4

const [file, command, ...args] = process.argv.slice(2)
const report = JSON.parse(readFileSync(file, 'utf8'))
const failed = report.testResults.filter(({ status }) => status === 'failed')
if (failed.length === 0 || failed.length > MOST_FILES) process.exit(1)

for (const { name, message, assertionResults } of failed) {
  const tests = assertionResults.filter(({ status }) => status === 'failed')
  const whys = tests.map(({ fullName, failureMessages }) => `${fullName}: ${failureMessages?.[0] ?? ''}`)
  for (const why of whys.length > 0 ? whys : [message ?? ''])
    console.log(`tried again: ${name}: ${why.split('\n')[0]}`)
}

const second = `${file}.again`
const names = failed.map(({ name }) => name)
const env = { ...process.env, TEST_REPORT: second }
const { status } = spawnSync(command, [...args, ...names], { env, stdio: 'inherit' })

const again = JSON.parse(readFileSync(second, 'utf8')).testResults
report.testResults = report.testResults.map((was) => again.find(({ name }) => name === was.name) ?? was)
writeFileSync(file, JSON.stringify(report))
process.exitCode = status ?? 1
