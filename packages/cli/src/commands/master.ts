// `sshoal master`: one process of the control plane.
import type { Roles } from '../roles.ts'
import { verb, type Verb } from '../verb.ts'

export function master(roles: Roles): Verb {
  return verb({
    name: 'master',
    summary: 'run a master',
    options: { ...roles.masterOptions },
    examples: [
      'sshoal master --listen 127.0.0.1:8080',
      'sshoal master --listen :443 --tls-cert chain.pem --tls-key key.pem',
    ],
    async run({ values, context }) {
      const log = await context.createLog(String(values.logLevel))
      const starting = roles.startMaster(values, { log })
      return context.hold(
        starting.then((running) => ({
          log,
          reload: async () => running.reload(),
          close: async () => running.close(),
        })),
      )
    },
  })
}
