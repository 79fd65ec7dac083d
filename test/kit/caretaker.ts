// Clears up behind a test process that dies without running its own hooks (killed, crashed, out of memory).
// One small shell reads what must be undone from a pipe; when the pipe closes, it undoes what was not
// released. It knows nothing about vitest, so that its own test can kill a plain process.

import { spawn, type ChildProcess } from 'node:child_process'

const SCRIPT = `
trap '' INT TERM HUP
while read -r id command; do
  if [ -n "$command" ]; then undo[id]=$command; else unset "undo[id]"; fi
done
ids=("\${!undo[@]}")
for ((i = \${#ids[@]} - 1; i >= 0; i--)); do eval "\${undo[\${ids[i]}]}"; done >/dev/null 2>&1
`

let shell: ChildProcess | undefined
let last = 0

function tell(line: string): void {
  if (shell === undefined) {
    // Its own session: a Ctrl-C in the terminal must not take the caretaker along.
    shell = spawn('bash', ['-c', SCRIPT], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
    shell.on('error', () => {})
    shell.stdin?.on('error', () => {})
    shell.unref()
    // A vitest that is killed leaves its workers running, with all they hold; they notice by this alone.
    process.once('disconnect', () => {
      process.kill(process.pid, 'SIGKILL')
    })
    const pipe = shell.stdin
    if (pipe !== null && 'unref' in pipe && typeof pipe.unref === 'function') pipe.unref()
  }
  shell.stdin?.write(`${line}\n`)
}

/** Has one line of bash run if this process dies first; the newest runs first. Call the answer to release it. */
export function entrust(command: string): () => void {
  const id = ++last
  tell(`${id} ${command}`)
  return () => {
    tell(`${id}`)
  }
}
