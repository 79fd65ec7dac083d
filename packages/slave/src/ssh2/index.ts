// The SSH library of the slave: all that knows ssh2's insides stands in this folder.
export { connectSsh } from './client.ts'
export { ChannelOpenError } from './channel-open-error.ts'
export { FairTurns } from './fair-turns.ts'
export { generateHostKey, HostKeyError, hostKeyPublic, signWithHostKey } from './host-key.ts'
export { cryptoInUse, LibraryError } from './library.ts'
export { OpenFailure } from './message.ts'
export { acceptCheaply } from './patches/cheap-accept.ts'
export { createSshServer } from './server.ts'
export type { SshClient, SshClientHandlers, SshClientOptions } from './client.ts'
export type {
  DirectRequest,
  DirectVerdict,
  ForwardRequest,
  KeyOffer,
  KeyVerdict,
  ShellView,
  SshChannel,
  SshConnection,
  SshConnectionHandlers,
  SshEndError,
  SshServer,
  SshServerOptions,
  VisitEnd,
} from './ssh-server.ts'
