// All commands, in the order of help: what runs, what shows, what changes.
import { audit } from './commands/audit.ts'
import { cluster } from './commands/cluster.ts'
import { device } from './commands/device.ts'
import { events } from './commands/events.ts'
import { gate } from './commands/gate.ts'
import { grant } from './commands/grant.ts'
import { key } from './commands/key.ts'
import { lease } from './commands/lease.ts'
import { master } from './commands/master.ts'
import { pool } from './commands/pool.ts'
import { project } from './commands/project.ts'
import { recheck } from './commands/recheck.ts'
import { slave } from './commands/slave.ts'
import { sshConfig } from './commands/ssh-config.ts'
import { ssh } from './commands/ssh.ts'
import { store } from './commands/store.ts'
import { target } from './commands/target.ts'
import { token } from './commands/token.ts'
import { tunnels } from './commands/tunnels.ts'
import { up } from './commands/up.ts'
import { user } from './commands/user.ts'
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
    user,
    key,
    pool,
    grant,
    target,
    gate,
    sshConfig,
    ssh,
    audit,
    project,
    token,
    store,
    events,
    recheck,
  ]
}
