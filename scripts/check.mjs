// `npm run check`: the unit tests beside the three that read the sources, because two processors are common and one is
// half idle else. All run to their end, and what each says comes in one piece, so that one run tells all that is wrong.
import { spawn } from 'node:child_process'

// On one thread each: what is the same for many files is looked at once and not by each of four, which takes half as much
// computing, and here it is computing that all wait for.
const rows = [['unit'], ['format:check', 'types', 'lint']]
const args = { types: ['--', '--singleThreaded'] }

function run(step) {
  return new Promise((resolve) => {
    const began = performance.now()
    const command = ['GOMAXPROCS=1', 'npm', 'run', '--silent', step, ...(args[step] ?? [])]
    const child = spawn('env', command, { stdio: ['ignore', 'pipe', 'pipe'] })
    const said = []
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => said.push(chunk))
    child.on('error', (error) => said.push(Buffer.from(`${error.message}\n`)))
    child.on('close', (status) => {
      const seconds = ((performance.now() - began) / 1_000).toFixed(1)
      const head = `${status === 0 ? 'good' : 'FAILED'}: npm run ${step} (${seconds} s)\n`
      process.stdout.write(Buffer.concat([...said, Buffer.from(head)]))
      resolve(status === 0)
    })
  })
}

const results = await Promise.all(
  rows.map(async (steps) => {
    let good = true
    for (const step of steps) good = (await run(step)) && good
    return good
  }),
)
process.exitCode = results.every(Boolean) ? 0 : 1
