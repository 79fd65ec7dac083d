// A worker for the supervisor's test: says it is ready unless told to fail, and does what a signal asks for.
import { appendFileSync } from 'node:fs'

const { NAME: id = '', JOURNAL: journal = '', FAIL: fails } = process.env
const note = (what) => appendFileSync(journal, `${id} ${what} ${process.pid}\n`)

if (fails) process.exit(3)
note('up')
process.on('SIGTERM', () => {
  note('down')
  process.exit(0)
})
process.on('SIGHUP', () => note('reload'))
process.on('disconnect', () => process.exit(0))
process.send({ id, host: '::', sshPorts: [2222] })
