// The descendants of a process, read from /proc. A daemon moves its children to groups of their own (sshd
// does so per connection), so the group of the leader is not enough to leave nothing behind.

import { readdirSync, readFileSync } from 'node:fs'

export interface Relative {
  pid: number
  parent: number
  /** In clock ticks since boot; tells a process from a later one with the same number. */
  born: string
}

function look(pid: number): Relative | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the name in brackets and may hold anything, so count from its end.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z') return undefined
    return { pid, parent: Number(fields[1]), born: fields[19] ?? '' }
  } catch {
    return undefined
  }
}

export function isAlive(pid: number): boolean {
  return look(pid) !== undefined
}

export function descendants(pid: number): Relative[] {
  const everyone = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => look(Number(name)))
    .filter((one) => one !== undefined)
  const found: Relative[] = []
  const parents = [pid]
  for (const parent of parents) {
    for (const one of everyone) {
      if (one.parent !== parent) continue
      found.push(one)
      parents.push(one.pid)
    }
  }
  return found
}

/** Kills those of a family that still are who they were. */
export function killFamily(family: Relative[]): void {
  for (const { pid, born } of family) if (look(pid)?.born === born) sendSignal(pid, 'SIGKILL')
}

/** A negative id means the whole group. One that is gone already is no error. */
export function sendSignal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}
