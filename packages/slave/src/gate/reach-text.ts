// What `ssh GATE` tells a user: who they are, what they may reach, what of it is online, and the command to type. Pure.
import { DEFAULT_PROJECT, formatHostPort, type ReachAnswer, type UserRole } from '@sshoal/shared'

import { cleanText } from './clean-text.ts'

export interface ReachFacts {
  slave: string
  user: UserRole
  fingerprint: string
  /** Where this gate is, as far as it knows. */
  gate: { host: string; port: number }
  /** Undefined: nobody can say now. */
  reach: ReachAnswer | undefined
}

export function reachText({ slave, user, fingerprint, gate, reach }: ReachFacts): string {
  const label = user.keyLabel === undefined ? '' : ` "${cleanText(user.keyLabel, 64)}"`
  const project = user.project === DEFAULT_PROJECT ? '' : ` of project ${cleanText(user.project, 64)}`
  const lines = [
    `sshoal: slave ${slave}. There is no shell here.`,
    `You are ${cleanText(user.login, 64)}${project}, by the key${label} ${fingerprint}.`,
  ]
  if (!reach) return [...lines, 'What you may reach cannot be said right now; try again later.'].join('\n')
  if (reach.total === 0) return [...lines, 'There is no target that you may reach.'].join('\n')
  const count = reach.incomplete
    ? `${reach.total} targets or more`
    : `${reach.total} ${reach.total === 1 ? 'target' : 'targets'}`
  lines.push(`You may reach ${count}:`)
  const names = reach.targets.map(({ name }) => cleanText(name, 255))
  const width = Math.max(...names.map((name) => name.length))
  for (const [index, { online, seenAt }] of reach.targets.entries()) {
    const since = seenAt === undefined ? '' : ` since ${new Date(seenAt).toISOString().slice(0, 19)}Z`
    lines.push(`  ${(names[index] ?? '').padEnd(width)}  ${online ? 'online' : `offline${since}`}`)
  }
  const more = reach.total - reach.targets.length
  if (more > 0) lines.push(`  and ${more} more`)
  const first = reach.targets[0]
  const at = formatHostPort(gate.host, gate.port)
  const account = first?.account === undefined ? '' : `${cleanText(first.account, 64)}@`
  lines.push(
    'From your own machine:',
    `  ssh -J ${cleanText(user.login, 64)}@${at} ${account}${names[0] ?? 'TARGET'}`,
  )
  return lines.join('\n')
}
