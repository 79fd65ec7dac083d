// The SSH server of a slave: host keys, algorithms and limits in, connections out. Listens on nothing; whoever owns the
// listener hands the sockets over, so that the owner can destroy them and knows how many there are.
import type { Socket } from 'node:net'

import { buildOffer } from './algorithms.ts'
import { Connection } from './connection.ts'
import { FairTurns } from './fair-turns.ts'
import { hostKeysByAlgorithm } from './host-key.ts'
import { Login } from './login.ts'
import { proposalOf } from './negotiation.ts'
import type { SshConnection, SshConnectionHandlers, SshServer, SshServerOptions } from './ssh-server.ts'
import { identOf } from './transport.ts'
import type { TransportSettings } from './transport.ts'

const MAX_AUTH_TRIES = 6
const MAX_UNSENT_BYTES = 8 * 1024 * 1024

export function createSshServer(options: SshServerOptions): SshServer {
  const turns = new FairTurns()
  const settingsFor = (privateKeyTexts: string[]): TransportSettings => {
    const hostKeys = hostKeysByAlgorithm(privateKeyTexts)
    const offer = buildOffer(options.algorithms, Object.keys(hostKeys))
    return {
      hostKeys,
      offer,
      proposal: proposalOf(offer),
      ident: identOf(options.software),
      turns: options.turns ?? turns,
      maxUnsentBytes: options.maxUnsentBytes ?? MAX_UNSENT_BYTES,
      ...(options.rekeyBytes !== undefined && { rekeyBytes: options.rekeyBytes }),
    }
  }
  let settings = settingsFor(options.hostKeys)
  return {
    accept(socket: Socket, handlers: SshConnectionHandlers, head?: Buffer): SshConnection {
      const maxTries = options.maxAuthTries ?? MAX_AUTH_TRIES
      return new Connection(
        socket,
        handlers,
        settings,
        (transport, onSuccess) => new Login(transport, handlers, maxTries, onSuccess),
        head,
      )
    },
    setHostKeys(privateKeyTexts: string[]): void {
      settings = settingsFor(privateKeyTexts)
    },
  }
}
