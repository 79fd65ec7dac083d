// All commands, in the order of help: what runs, what shows, what changes.
import { cluster } from './commands/cluster.ts'
import { device } from './commands/device.ts'
import { events } from './commands/events.ts'
import { lease } from './commands/lease.ts'
import { master } from './commands/master.ts'
import { recheck } from './commands/recheck.ts'
import { slave } from './commands/slave.ts'
import { store } from './commands/store.ts'
import { token } from './commands/token.ts'
import { tunnels } from './commands/tunnels.ts'
import { up } from './commands/up.ts'
import type { Roles } from './roles.ts'
import type { Group, Verb } from './verb.ts'

export function commandTree(roles: Roles): (Verb | Group)[] {
  return [
    up(roles),
    master(roles),
    slave(roles),
    cluster,
    tunnels,
    device,
    lease,
    token,
    store,
    events,
    recheck,
  ]
}
